using System.Text.Json;
using Tidemark.Testing;

namespace Tidemark.Cli.Tests.Plans;

/// <summary>The project's own cases of <c>tidemark plan</c>: each names the rule that it holds, and what comes out was
/// reasoned from the rule.</summary>
public sealed class PlanCaseTests
{
    public static TheoryData<string> Files =>
        ["validate", "backup", "checkpoint-delete", "commit", "copy", "stream", "snapshot", "bitmaps"];

    [Theory]
    [MemberData(nameof(Files))]
    public async Task Every_case_comes_out_byte_for_byte(string file)
    {
        using var directory = new TemporaryDirectory();
        var path = Path.Combine(RepositoryRoot.Path, "tests/Tidemark.Cli.Tests/Plans/Cases", $"{file}.json");
        using var document = JsonDocument.Parse(await File.ReadAllTextAsync(path, Token));
        foreach (var test in document.RootElement.EnumerateArray())
        {
            var name = $"{file} {test.GetProperty("name").GetString()} ({test.GetProperty("rule").GetString()})";
            var nodes = Path.Combine(directory.Path, "nodes.json");
            await File.WriteAllTextAsync(nodes, test.GetProperty("nodes").GetRawText(), Token);
            var command = test.GetProperty("command").EnumerateArray().Select(part => part.GetString()!).ToArray();
            using var console = new TestConsole();
            var exit = await console.RunAsync(
            [
                "plan", command[0], "--nodes", nodes, "--chain", test.GetProperty("chain").GetString()!,
                .. command[1..],
            ]);
            var expected = string.Concat(
                test.GetProperty("expect").EnumerateArray().Select(line => line.GetString() + "\n"));
            Assert.True(expected == console.Output, $"{name}:\n{console.Output}\n--- expected\n{expected}");
            Assert.True(test.GetProperty("exit").GetInt32() == exit, $"{name}: exit code {exit}: {console.Error}");
            if (test.TryGetProperty("error", out var error))
            {
                Assert.Contains(error.GetString()!, console.Error, StringComparison.Ordinal);
            }
        }
    }

    [Fact]
    public void There_are_at_least_sixty_cases_and_each_names_its_rule()
    {
        var names = new HashSet<string>();
        foreach (var file in Files.Select(row => row.Data))
        {
            var path = Path.Combine(RepositoryRoot.Path, "tests/Tidemark.Cli.Tests/Plans/Cases", $"{file}.json");
            using var document = JsonDocument.Parse(File.ReadAllText(path));
            foreach (var test in document.RootElement.EnumerateArray())
            {
                Assert.True(names.Add($"{file} {test.GetProperty("name").GetString()}"));
                Assert.NotEmpty(test.GetProperty("rule").GetString()!);
            }
        }

        Assert.True(names.Count >= 60, $"{names.Count} cases");
    }

    private static CancellationToken Token => TestContext.Current.CancellationToken;
}
