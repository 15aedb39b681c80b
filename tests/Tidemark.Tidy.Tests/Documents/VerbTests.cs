using System.Text.RegularExpressions;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Tidy.Tests.Documents;

/// <summary>What the program offers is written down, and what the README shows the program knows.</summary>
public sealed partial class VerbTests
{
    [Fact]
    public async Task Every_verb_of_the_program_is_documented()
    {
        var verbs = await VerbsAsync();
        Assert.Contains("backup", verbs);
        var files = ProjectTree.Files("docs", ".md").Append("README.md");
        var documents = string.Join('\n', files.Select(ProjectTree.Text));
        Findings.None(verbs.Where(verb => !documents.Contains($"tidemark {verb}", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task Every_command_line_of_the_README_uses_a_verb_that_there_is()
    {
        var verbs = await VerbsAsync();
        var shown = CommandLine().Matches(ProjectTree.Text("README.md")).Select(m => m.Groups[1].Value).Distinct();
        Findings.None(shown.Except(verbs));
    }

    private static async Task<List<string>> VerbsAsync()
    {
        var program = Path.ChangeExtension(ProjectTree.Assembly("Tidemark.Cli", "tidemark"), null);
        var help = await Tool.RunAsync(program, ["--help"]);
        Assert.Equal(0, help.ExitCode);
        var commands = help.Output[help.Output.IndexOf("Commands:", StringComparison.Ordinal)..].Split('\n')[1..];
        return [.. commands.Select(line => Verb().Match(line)).Where(m => m.Success).Select(m => m.Groups[1].Value)];
    }

    [GeneratedRegex(@"^  ([a-z][a-z-]+)")]
    private static partial Regex Verb();

    [GeneratedRegex(@"^(?:\$ )?\./tidemark ([a-z][a-z-]+)", RegexOptions.Multiline)]
    private static partial Regex CommandLine();
}
