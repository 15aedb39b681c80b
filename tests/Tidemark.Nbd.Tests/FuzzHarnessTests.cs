using Tidemark.Fuzz;
using Tidemark.Fuzz.Targets;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>The fuzzer finds what it is there to find: an exception, a hang, memory that is kept, and memory of one
/// execution that is out of proportion. A search that could not would prove nothing.</summary>
/// <remarks>Alone, because it counts what the whole process allocates.</remarks>
[Collection(nameof(AloneCollection))]
public sealed class FuzzHarnessTests
{
    private static (int ExitCode, string Said, string[] Saved) Run(IFuzzTarget target, Action? end = null)
    {
        using var directory = new TemporaryDirectory();
        using var output = new StringWriter();
        var options = new FuzzOptions
        {
            Target = target.Name,
            Seed = 7,
            Executions = 20_000,
            Findings = directory.File("findings"),
        };
        var code = new FuzzRun(target, options, output, end).Run();
        var folder = Path.Combine(options.Findings, target.Name);
        return (code, output.ToString(), Directory.Exists(folder) ? Directory.GetFiles(folder) : []);
    }

    [Fact]
    public void An_exception_is_found()
    {
        var (code, said, saved) = Run(new FaultyTarget(_ => throw new InvalidOperationException("deep inside")));
        Assert.Equal(1, code);
        Assert.Contains("deep inside", said, StringComparison.Ordinal);
        Assert.Single(saved);
    }

    [Fact]
    public void A_hang_is_found_while_it_lasts()
    {
        using var ended = new ManualResetEventSlim();
        var (_, said, saved) = Run(new FaultyTarget(_ => ended.Wait(TestContext.Current.CancellationToken)), ended.Set);
        Assert.Contains("no end within", said, StringComparison.Ordinal);
        Assert.NotEmpty(saved);
    }

    [Fact]
    public void Memory_that_is_kept_is_found()
    {
        List<byte[]> kept = [];
        var (code, said, _) = Run(new FaultyTarget(_ => kept.Add(new byte[64 << 10])));
        Assert.Equal(1, code);
        Assert.Contains("the heap holds", said, StringComparison.Ordinal);
        Assert.NotEmpty(kept);
    }

    [Fact]
    public void Memory_of_one_execution_is_found_even_if_it_is_free_again()
    {
        var (code, said, saved) = Run(new FaultyTarget(
            _ => GC.KeepAlive(GC.AllocateUninitializedArray<byte>(300 << 20))));
        Assert.Equal(1, code);
        Assert.Contains("were allocated", said, StringComparison.Ordinal);
        Assert.Single(saved);
    }

    [Fact]
    public void Nothing_is_found_where_nothing_is_wrong()
    {
        var (code, said, saved) = Run(new FaultyTarget(_ => { }));
        Assert.True(code == 0, said);
        Assert.Contains("20,000 executions", said, StringComparison.Ordinal);
        Assert.Empty(saved);
    }

    [Fact]
    public void The_clients_recorded_conversations_run_and_some_mutations_of_them()
    {
        // The same search as ./fuzz nbd-client, short and without coverage: what it found before would be found again.
        var (code, said, _) = Run(new Unlimited(new NbdClientTarget()));
        Assert.True(code == 0, said);
    }

    // What a test before this one left may allocate beside it, or hold memory still.
    private sealed class Unlimited(IFuzzTarget target) : IFuzzTarget
    {
        public string Name => target.Name;

        public string Description => target.Description;

        public IReadOnlyList<string> Assemblies => target.Assemblies;

        public TimeSpan HangLimit => target.HangLimit;

        public long MemoryLimit => long.MaxValue / 4;

        public int MaximumInput => target.MaximumInput;

        public IEnumerable<byte[]> Seeds() => target.Seeds();

        public void Execute(ReadOnlySpan<byte> input) => target.Execute(input);
    }

    private sealed class FaultyTarget(Action<byte> fault) : IFuzzTarget
    {
        public string Name => "faulty";

        public string Description => "goes wrong in the middle";

        public IReadOnlyList<string> Assemblies => [];

        public TimeSpan HangLimit => TimeSpan.FromMilliseconds(500);

        // What tests before this one keep is not the fault's; their garbage would be room for it.
        public long MemoryLimit { get; } = GC.GetTotalMemory(forceFullCollection: true) + (256 << 20);

        public long AllocationLimit => 256 << 20;

        public int MaximumInput => 16;

        public IEnumerable<byte[]> Seeds() => [[]];

        public void Execute(ReadOnlySpan<byte> input)
        {
            if (!input.IsEmpty && input[0] > 100)
            {
                fault(input[0]);
            }
        }
    }
}
