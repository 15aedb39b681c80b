using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;
using Xunit;

namespace Tidemark.Tidy.Tests.Layers;

/// <summary>No project knows more of the others than <see cref="LayerTable"/> allows, on paper and as built.</summary>
public sealed class ReferenceTests
{
    public static TheoryData<string> Sources => [.. LayerTable.Allowed.Keys];

    [Fact]
    public void The_table_names_every_project_of_the_source_tree()
    {
        var projects = ProjectFile.All.Where(project => project.Path.StartsWith("src/", StringComparison.Ordinal));
        Assert.Equal(LayerTable.Allowed.Keys.Order(), projects.Select(project => project.Name).Order());
    }

    [Fact]
    public void The_table_has_no_cycle()
    {
        var rest = LayerTable.Allowed.ToDictionary();
        while (rest.Count > 0)
        {
            var free = rest.Where(pair => !pair.Value.Any(rest.ContainsKey)).Select(pair => pair.Key).ToArray();
            Assert.True(free.Length > 0, $"a cycle among {string.Join(", ", rest.Keys)}");
            foreach (var project in free)
            {
                rest.Remove(project);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Sources))]
    public void A_project_file_names_only_what_it_may(string project)
    {
        var file = ProjectFile.All.Single(file => file.Name == project);
        Findings.None(file.Projects.Except(LayerTable.Allowed[project]));
    }

    [Theory]
    [MemberData(nameof(Sources))]
    public void A_built_assembly_uses_only_what_it_may(string project)
    {
        var file = ProjectFile.All.Single(file => file.Name == project);
        var used = ReferencesOf(ProjectTree.Assembly(project, file.AssemblyName));
        Assert.Contains("System.Runtime", used);
        var allowed = LayerTable.Allowed[project];
        Findings.None(used.Where(name => name.StartsWith("Tidemark.", StringComparison.Ordinal)).Except(allowed));
    }

    [Fact]
    public void No_source_project_uses_a_test_project_and_no_library_the_program()
    {
        foreach (var project in ProjectFile.All.Where(file => file.Path.StartsWith("src/", StringComparison.Ordinal)))
        {
            Assert.DoesNotContain("Tidemark.Cli", project.Projects);
            Assert.DoesNotContain(project.Projects, name => name.EndsWith("Testing", StringComparison.Ordinal));
        }
    }

    [Fact]
    public void The_solution_names_every_project()
    {
        var solution = ProjectTree.Text("Tidemark.slnx");
        Findings.None(ProjectFile.All.Where(project => !solution.Contains($"\"{project.Path}\"")).Select(p => p.Path));
    }

    private static List<string> ReferencesOf(string assembly)
    {
        using var stream = File.OpenRead(assembly);
        using var image = new PEReader(stream);
        var reader = image.GetMetadataReader();
        return
        [
            .. reader.AssemblyReferences
                .Select(handle => reader.GetString(reader.GetAssemblyReference(handle).Name)),
        ];
    }
}
