using System.Text.RegularExpressions;
using Xunit;

namespace Tidemark.Tidy.Tests.Documents;

/// <summary>A document that names a test as its proof names one that is there, and a comparison that says that
/// something is as good or better names one.</summary>
public sealed partial class NamedTestTests
{
    private static readonly Lazy<ILookup<string, string>> s_classes = new(() =>
        (from path in ProjectTree.Files("tests", ".cs")
         let text = ProjectTree.Text(path)
         from Match declared in Declaration().Matches(text)
         select (Name: declared.Groups[1].Value, Text: text))
        .ToLookup(one => one.Name, one => one.Text, StringComparer.Ordinal));

    public static TheoryData<string> Documents => [.. ProjectTree.Files(".", ".md")];

    [Theory]
    [MemberData(nameof(Documents))]
    public void Named_tests_are_there(string document) => Findings.None(
        from Match named in Named().Matches(ProjectTree.Text(document))
        let texts = s_classes.Value[named.Groups[1].Value]
        let method = named.Groups[2].Value
        where !texts.Any(text => method.Length == 0 || Regex.IsMatch(text, $@"\b{method}\("))
        select named.Value);

    [Fact]
    public void What_is_the_same_or_better_than_libvirt_names_its_test() => Findings.None(
        from line in ProjectTree.Lines("docs/comparison-libvirt.md")
        where line.StartsWith('|')
        let cells = line.Trim('|').Split(" | ", StringSplitOptions.TrimEntries)
        let said = cells[^1]
        where (said.StartsWith("same", StringComparison.Ordinal) || said.StartsWith("better", StringComparison.Ordinal))
            && !Named().IsMatch(said)
        select line);

    [Fact]
    public void Every_row_of_the_comparison_begins_with_its_verdict() => Findings.None(
        from line in ProjectTree.Lines("docs/comparison-libvirt.md")
        where Row().IsMatch(line)
        let said = line.Trim('|').Split(" | ", StringSplitOptions.TrimEntries)[^1]
        where !Verdict().IsMatch(said)
        select line);

    [GeneratedRegex(@"class (\w+Tests)\b")]
    private static partial Regex Declaration();

    [GeneratedRegex(@"`(\w+Tests)(?:\.(\w+))?`")]
    private static partial Regex Named();

    [GeneratedRegex(@"^\| (\d+|\([a-z]\)[^|]*) \|")]
    private static partial Regex Row();

    [GeneratedRegex(@"^(same|better|not yet)\b")]
    private static partial Regex Verdict();
}
