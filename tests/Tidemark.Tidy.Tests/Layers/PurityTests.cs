using Xunit;

namespace Tidemark.Tidy.Tests.Layers;

/// <summary>
/// What decides a backup does nothing: the planner, the bitmap rules and the graph it reads neither do I/O nor wait nor
/// look at a clock. So every decision can be tested from a recorded graph, and <c>plan</c> touches nothing.
/// </summary>
public sealed class PurityTests
{
    private static readonly string[] s_pure = ["Planning", "Rules", "Graph"];

    private static readonly string[] s_forbidden =
    [
        "System.IO.", "System.Net.", "System.Threading.Tasks.", "System.Threading.Channels.", "System.TimeProvider",
        "System.Random", "System.Console", "System.Diagnostics.Process",
        "System.Diagnostics.Stopwatch", "Tidemark.Qmp.IMonitor", "Tidemark.Repository.", "Tidemark.Nbd.NbdClient",
    ];

    [Fact]
    public void What_decides_uses_no_input_output_no_task_and_no_clock()
    {
        var assembly = ProjectTree.Assembly("Tidemark.Backup");
        var used = s_pure.SelectMany(space => TypeUses.Of(assembly, $"Tidemark.Backup.{space}")).ToArray();
        Assert.True(used.Length > 10, $"only {used.Length} types in {string.Join(", ", s_pure)}: were they renamed?");
        var wrong =
            from type in used
            from use in type.Value
            where s_forbidden.Any(name => use.StartsWith(name, StringComparison.Ordinal))
            select $"{type.Key} uses {use}";
        Findings.None(wrong);
    }

    [Fact]
    public void What_decides_does_not_ask_the_environment()
    {
        // By the source, because iterators use this type too, for the thread's number.
        Findings.None(
            from space in s_pure
            from file in ProjectTree.Files($"src/Tidemark.Backup/{space}", ".cs")
            where ProjectTree.Text(file).Contains("Environment.", StringComparison.Ordinal)
            select file);
    }

    [Fact]
    public void The_reader_of_uses_sees_a_call_a_field_and_a_signature()
    {
        // The check of the check: what must be seen in this very assembly is seen.
        var own = ProjectTree.Assembly("Tidemark.Tidy.Tests");
        var uses = TypeUses.Of(own, "Tidemark.Tidy.Tests")["Tidemark.Tidy.Tests.ProjectTree"];
        Assert.Contains("System.IO.File", uses);
        Assert.Contains("System.Collections.Generic.IEnumerable`1", uses);
        Assert.DoesNotContain("System.Net.Sockets.Socket", uses);
    }
}
