using System.Text.RegularExpressions;
using System.Xml.Linq;
using Xunit;

namespace Tidemark.Tidy.Tests.Packages;

/// <summary>Every package is wanted, pinned, locked, and explained in docs/dependencies.md.</summary>
public sealed partial class PackageTests
{
    private static readonly XElement[] s_versions =
        [.. XDocument.Parse(ProjectTree.Text("Directory.Packages.props")).Descendants("PackageVersion")];

    [Fact]
    public void Every_version_is_exact() =>
        Assert.All(s_versions, item => Assert.Matches(ExactVersion(), (string?)item.Attribute("Version") ?? ""));

    [Fact]
    public void No_project_sets_a_version_of_its_own()
    {
        var own = ProjectFile.All
            .SelectMany(file => file.Document.Descendants("PackageReference"), (file, item) => (file.Path, item))
            .Where(pair => pair.item.Attributes().Any(a => a.Name.LocalName is "Version" or "VersionOverride"));
        Findings.None(own.Select(pair => pair.Path));
    }

    [Fact]
    public void Every_pinned_package_is_used()
    {
        var used = ProjectFile.All.SelectMany(file => file.Packages)
            .Concat(XDocument.Parse(ProjectTree.Text("src/Directory.Build.props")).Descendants("PackageReference")
                .Select(item => (string)item.Attribute("Include")!));
        Findings.None(s_versions.Select(item => (string)item.Attribute("Include")!).Except(used));
    }

    [Fact]
    public void Every_package_has_a_reason_and_a_licence()
    {
        // The rows of the table: | package | version | licence | reason |
        var rows = ProjectTree.Lines("docs/dependencies.md")
            .Where(line => line.StartsWith("| `", StringComparison.Ordinal))
            .Select(line => line.Split('|', StringSplitOptions.TrimEntries)[1..^1])
            .ToArray();
        Assert.All(rows, row => Assert.True(row.Length == 4 && row.All(cell => cell.Length > 2), row[0]));
        var pinned = s_versions
            .Select(item => $"`{(string?)item.Attribute("Include")}` {(string?)item.Attribute("Version")}");
        Assert.Equal(pinned.Order(), rows.Select(row => $"{row[0]} {row[1]}").Order());
    }

    [Fact]
    public void Every_project_has_its_lock_file()
    {
        var unlocked = ProjectFile.All
            .Select(project => Path.Combine(Path.GetDirectoryName(project.Path)!, "packages.lock.json"))
            .Where(path => !File.Exists(Path.Combine(ProjectTree.Root, path)));
        Findings.None(unlocked);
    }

    [GeneratedRegex(@"^\d+\.\d+\.\d+$")]
    private static partial Regex ExactVersion();
}
