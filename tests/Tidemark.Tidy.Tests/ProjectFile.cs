using System.Xml.Linq;

namespace Tidemark.Tidy.Tests;

/// <summary>What a project's file says of its references.</summary>
/// <param name="Name">The project's name: <c>Tidemark.Blocks</c>.</param>
/// <param name="Path">Its file, relative to the root.</param>
/// <param name="Projects">The names of the projects whose types it may use.</param>
/// <param name="Packages">The packages that it uses.</param>
/// <param name="Document">The file itself.</param>
internal sealed record ProjectFile(
    string Name, string Path, IReadOnlyList<string> Projects, IReadOnlyList<string> Packages, XDocument Document)
{
    public static IReadOnlyList<ProjectFile> All { get; } =
    [
        .. new[] { "src", "tests" }
            .Where(folder => Directory.Exists(System.IO.Path.Combine(ProjectTree.Root, folder)))
            .SelectMany(folder => ProjectTree.Files(folder, ".csproj"))
            .Select(Read),
    ];

    public string AssemblyName => Document.Descendants("AssemblyName").FirstOrDefault()?.Value ?? Name;

    private static ProjectFile Read(string path)
    {
        var document = XDocument.Parse(ProjectTree.Text(path));
        var projects = document.Descendants("ProjectReference")
            .Where(reference => (string?)reference.Attribute("ReferenceOutputAssembly") != "false")
            .Select(reference => System.IO.Path.GetFileNameWithoutExtension((string)reference.Attribute("Include")!));
        var packages = document.Descendants("PackageReference").Select(item => (string)item.Attribute("Include")!);
        return new ProjectFile(
            System.IO.Path.GetFileNameWithoutExtension(path), path, [.. projects], [.. packages], document);
    }
}
