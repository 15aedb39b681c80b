using System.Text.RegularExpressions;
using Xunit;

namespace Tidemark.Tidy.Tests.Documents;

/// <summary>docs/nbd-conformance.md: no row is missing, and every test that it names is there.</summary>
public sealed partial class ConformanceTests
{
    private const int Rules = 311;

    private static string Document => File.ReadAllText(Path.Combine(ProjectTree.Root, "docs", "nbd-conformance.md"));

    [Fact]
    public void Every_rule_has_one_row_in_order() =>
        Assert.Equal(
            Enumerable.Range(1, Rules),
            RowPattern().Matches(Document).Select(row => int.Parse(row.Groups[1].Value)));

    [Fact]
    public void Every_row_names_a_test_or_says_why_not() =>
        Findings.None(RowPattern().Matches(Document)
            .Where(row => row.Groups[2].Value.Trim().Length < 10)
            .Select(row => $"rule {row.Groups[1].Value} has neither a test nor a reason"));

    [Fact]
    public void Every_test_that_is_named_exists()
    {
        string[] folders = ["Tidemark.Nbd.Tests", Path.Combine("Tidemark.Cli.Tests", "Nbd")];
        var sources = new Dictionary<string, string>(StringComparer.Ordinal);
        var names = NamePattern().Matches(Document).Select(name => (name.Groups[1].Value, name.Groups[2].Value))
            .Distinct().ToList();
        Assert.True(names.Count > 50, $"only {names.Count} tests are named");
        Findings.None(names.Where(name => !Has(name.Item1, name.Item2))
            .Select(name => $"docs/nbd-conformance.md names {name.Item1}.{name.Item2}, which does not exist"));

        bool Has(string type, string method)
        {
            if (!sources.TryGetValue(type, out var source))
            {
                var path = folders.Select(folder => Path.Combine(ProjectTree.Root, "tests", folder, type + ".cs"))
                    .FirstOrDefault(File.Exists);
                sources[type] = source = path is null ? "" : File.ReadAllText(path);
            }

            return Regex.IsMatch(source, $@"public (async )?(Task|void) {method}\(");
        }
    }

    [GeneratedRegex(@"^\| (\d+) \|[^|]*\|[^|]*\|([^|]*)\|$", RegexOptions.Multiline)]
    private static partial Regex RowPattern();

    [GeneratedRegex(@"`([A-Z]\w+Tests)\.(\w+)`")]
    private static partial Regex NamePattern();
}
