using System.Text.RegularExpressions;
using Xunit;

namespace Tidemark.Tidy.Tests.Sources;

/// <summary>The shape of the source: what CONTRIBUTING.md promises and no compiler checks.</summary>
public sealed partial class SourceTests
{
    private const string RawQuote = "\"\"\"";
    private const int MaximumLineLength = 120;
    private const int MaximumFileLength = 600;
    private const int MaximumMethodLength = 70;
    private const int MaximumSecondTypeLength = 16;

    /// <summary>Files that may break a rule of this class, each with the reason. Meant to stay empty.</summary>
    private static readonly Dictionary<string, string> s_exceptions = [];

    private static readonly string[] s_code =
    [
        .. new[] { "src", "tests" }.Where(folder => Directory.Exists(Path.Combine(ProjectTree.Root, folder)))
            .SelectMany(folder => ProjectTree.Files(folder, ".cs"))
            .Where(file => !s_exceptions.ContainsKey(file)),
    ];

    private static readonly string[] s_text =
    [
        .. ProjectTree.Files(".", ".cs", ".csproj", ".props", ".slnx", ".json", ".md", ".txt", ".py", ".sh", "")
            .Where(file => !s_exceptions.ContainsKey(file)),
    ];

    [Fact]
    public void Lines_are_short() => Findings.None(
        from file in s_code
        let lines = ProjectTree.Lines(file)
        from number in Enumerable.Range(0, lines.Length)
        where lines[number].Length > MaximumLineLength && !IsRawText(lines, number)
        select $"{file}:{number + 1}: {lines[number].Trim()}");

    [Fact]
    public void Files_are_short() =>
        Findings.None(s_code.Where(file => ProjectTree.Lines(file).Length > MaximumFileLength));

    [Fact]
    public void No_line_ends_in_a_space() =>
        Findings.None(Where(s_text.Where(file => !file.EndsWith(".md", StringComparison.Ordinal)),
            line => line.Length > 0 && char.IsWhiteSpace(line[^1])));

    [Fact]
    public void No_tab_and_no_region() =>
        Findings.None(Where(s_code, line => TabOrRegion().IsMatch(line)));

    [Fact]
    public void Every_file_ends_with_one_line_feed()
    {
        var wrong = s_text.Where(file => file != "LICENSE" && ProjectTree.Text(file) is { Length: > 0 } text
            && (!text.EndsWith('\n') || text.EndsWith("\n\n", StringComparison.Ordinal) || text.Contains('\r')));
        // Lock files are the package manager's own; recordings stay as they were recorded.
        Findings.None(
            wrong.Where(file => Path.GetFileName(file) != "packages.lock.json" && !file.Contains("/Golden/")));
    }

    [Fact]
    public void No_file_names_a_machine_or_a_package_registry()
    {
        // Put together here, so that this file does not name them.
        string[] names = ["/wo" + "rk/", "/ro" + "ot/", "/home" + "/", "api.nu" + "get", "nu" + "get.config"];
        Findings.None(Where(s_text, line => Array.Exists(names, line.ToLowerInvariant().Contains)));
        Findings.None(ProjectTree.Files(".", ".config", ".Config"));
    }

    [Fact]
    public void A_build_file_fetches_from_nowhere_by_name() =>
        Findings.None(Where(
            ProjectTree.Files(".", ".csproj", ".props", ".targets", ".slnx"), line => line.Contains("://")));

    [Fact]
    public void The_namespace_is_the_folder()
    {
        var wrong =
            from file in s_code
            let match = Namespace().Match(ProjectTree.Text(file))
            where match.Success
            let folders = Path.GetDirectoryName(file)!.Split('/')[1..]
            where match.Groups[1].Value != string.Join('.', folders)
            select $"{file}: {match.Groups[1].Value}";
        Findings.None(wrong);
    }

    [Fact]
    public void A_file_holds_the_type_of_its_name_and_at_most_tiny_others()
    {
        var wrong = new List<string>();
        foreach (var file in s_code)
        {
            var types = TopLevelTypes(ProjectTree.Lines(file)).ToArray();
            var name = Path.GetFileName(file).Split('.')[0];
            if (types.Length > 0 && !types.Any(type => type.Name == name))
            {
                wrong.Add($"{file} holds {string.Join(", ", types.Select(type => type.Name))}");
            }

            wrong.AddRange(types
                .Where(type => type.Name != name && !type.Private && type.Length > MaximumSecondTypeLength)
                .Select(type => $"{file} also holds {type.Name} of {type.Length} lines: give it its own file"));
        }

        Findings.None(wrong);
    }

    [Fact]
    public void Methods_fit_on_a_screen()
    {
        var wrong = new List<string>();
        foreach (var file in s_code)
        {
            var lines = ProjectTree.Lines(file);
            for (var index = 1; index < lines.Length; index++)
            {
                var indent = lines[index].Length - 1;
                if (!OpeningBrace().IsMatch(lines[index]) || indent % 4 != 0 || !IsMethodHead(lines, index, indent))
                {
                    continue;
                }

                var end = Array.FindIndex(lines, index, line => line.StartsWith(new string(' ', indent) + "}"));
                if (end - index - 1 > MaximumMethodLength)
                {
                    wrong.Add($"{file}:{index}: a method of {end - index - 1} lines");
                }
            }
        }

        Findings.None(wrong);
    }

    // Data, not code: a line of a raw string literal, or one that holds a whole one.
    private static bool IsRawText(string[] lines, int number) =>
        lines[number].Contains(RawQuote)
            || lines[..number].Count(line => line.Split(RawQuote).Length % 2 == 0) % 2 == 1;

    // A method's head stands right above its brace, at the same depth or (its last lines) one deeper, below nothing
    // but types: 4 for a type's own methods, 8 for those of a nested type.
    private static bool IsMethodHead(string[] lines, int brace, int indent)
    {
        var head = brace - 1;
        while (head > 0 && lines[head].StartsWith(new string(' ', indent + 4), StringComparison.Ordinal))
        {
            head--;
        }

        return MethodHead().IsMatch(lines[head]) && !Statement().IsMatch(lines[head]);
    }

    // A top-level type ends at the closing brace in the first column, or, without a body, at its semicolon.
    private static IEnumerable<TopLevelType> TopLevelTypes(string[] lines)
    {
        for (var index = 0; index < lines.Length; index++)
        {
            if (TypeHead().Match(lines[index]) is not { Success: true } head)
            {
                continue;
            }

            var last = Array.FindIndex(lines, index, line => line == "{" || line.EndsWith(';'));
            var end = lines[last] == "{" ? Array.IndexOf(lines, "}", last) : last;
            yield return new TopLevelType(head.Groups["name"].Value, head.Value.Contains("file "), end - index + 1);
        }
    }

    private static IEnumerable<string> Where(IEnumerable<string> files, Func<string, bool> wrong) =>
        from file in files
        from line in ProjectTree.Lines(file).Select((text, index) => (text, number: index + 1))
        where wrong(line.text)
        select $"{file}:{line.number}: {line.text.Trim()}";

    [GeneratedRegex(@"^namespace ([\w.]+);", RegexOptions.Multiline)]
    private static partial Regex Namespace();

    [GeneratedRegex(@"\t|^\s*#region")]
    private static partial Regex TabOrRegion();

    [GeneratedRegex(@"^ +\{$")]
    private static partial Regex OpeningBrace();

    [GeneratedRegex(@"^ +(public|private|internal|protected|static|async|override|unsafe) .*\(")]
    private static partial Regex MethodHead();

    [GeneratedRegex(@"\b(class|struct|record|interface|enum)\b [^(]*(\(|$)|^ +static .*=> ")]
    private static partial Regex Statement();

    [GeneratedRegex(@"^((public|internal|file|sealed|abstract|static|readonly|partial|unsafe|ref) )*"
        + @"(class|struct|record struct|record class|record|interface|enum|delegate [\w<>]+) (?<name>\w+)")]
    private static partial Regex TypeHead();

    private sealed record TopLevelType(string Name, bool Private, int Length);
}
