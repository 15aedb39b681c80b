using System.Text.RegularExpressions;
using Xunit;

namespace Tidemark.Tidy.Tests.Documents;

/// <summary>A link in a document leads somewhere: to a file that is there, and to a heading that it has.</summary>
public sealed partial class LinkTests
{
    public static TheoryData<string> Documents => [.. ProjectTree.Files(".", ".md")];

    [Theory]
    [MemberData(nameof(Documents))]
    public void Links_lead_somewhere(string document)
    {
        var broken = new List<string>();
        foreach (var target in Link().Matches(WithoutCode(ProjectTree.Text(document))).Select(m => m.Groups[1].Value))
        {
            if (target.Contains("://") || target.StartsWith("mailto:", StringComparison.Ordinal))
            {
                continue;
            }

            var parts = target.Split('#');
            var file = parts[0].Length == 0
                ? document
                : Path.GetRelativePath(ProjectTree.Root,
                    Path.GetFullPath(Path.Combine(ProjectTree.Root, Path.GetDirectoryName(document)!, parts[0])));
            var full = Path.Combine(ProjectTree.Root, file);
            if (!File.Exists(full) && !Directory.Exists(full))
            {
                broken.Add(target);
            }
            else if (parts.Length > 1 && !Anchors(ProjectTree.Lines(file)).Contains(parts[1]))
            {
                broken.Add(target);
            }
        }

        Findings.None(broken);
    }

    private static IEnumerable<string> Anchors(IEnumerable<string> lines) =>
        from line in lines
        where line.StartsWith('#')
        let title = line.TrimStart('#').Trim().ToLowerInvariant()
        select new string([.. title.Replace(' ', '-').Where(c => char.IsLetterOrDigit(c) || c is '-' or '_')]);

    private static string WithoutCode(string text) => Code().Replace(text, "");

    [GeneratedRegex(@"\]\(([^)\s]+)\)")]
    private static partial Regex Link();

    [GeneratedRegex(@"```.*?```|`[^`\n]*`", RegexOptions.Singleline)]
    private static partial Regex Code();
}
