namespace Tidemark.Fuzz;

/// <summary>
/// One thing that is fuzzed: a parser or a whole peer that takes bytes from outside. Executions are independent of
/// each other: what one leaves behind is a finding.
/// </summary>
public interface IFuzzTarget
{
    /// <summary>The word of the command line.</summary>
    string Name { get; }

    /// <summary>One line of help.</summary>
    string Description { get; }

    /// <summary>The assemblies (simple names) whose branches guide the search.</summary>
    IReadOnlyList<string> Assemblies { get; }

    /// <summary>Whether a type of these assemblies (its full name) is worth being guided by.</summary>
    bool IsInstrumented(string type) => true;

    /// <summary>How long one execution may take before it counts as a hang.</summary>
    TimeSpan HangLimit { get; }

    /// <summary>The most that the managed heap may hold after an execution, in bytes, kept inputs included.</summary>
    long MemoryLimit { get; }

    /// <summary>The most that one execution may allocate on the managed heap, in bytes, freed again or not: a length
    /// of a few bytes of input must not make memory of gigabytes.</summary>
    long AllocationLimit => MemoryLimit;

    /// <summary>The longest input worth trying, in bytes.</summary>
    int MaximumInput { get; }

    /// <summary>Inputs to start from: recorded conversations, well-formed files.</summary>
    IEnumerable<byte[]> Seeds();

    /// <summary>What the last execution cost, in a unit of the target's own: of two inputs the cheaper one is changed
    /// more often. Zero where all cost about the same.</summary>
    long Cost => 0;

    /// <summary>
    /// Runs one input. Returns when every task and thread that it started has ended. Errors that the product
    /// documents for bad input are swallowed here; whatever else is thrown is a finding.
    /// </summary>
    void Execute(ReadOnlySpan<byte> input);
}
