namespace Tidemark.Tidy.Tests;

/// <summary>The files of the project, found from where the tests were built.</summary>
internal static class ProjectTree
{
    private static readonly string[] s_notOurs = [".git", "artifacts", "bin", "obj", "bench-results", "node_modules"];

    /// <summary>The folder that holds the solution.</summary>
    public static string Root { get; } = FindRoot();

    /// <summary>The configuration that these tests were built in, as a folder's name: <c>release</c>.</summary>
    public static string Configuration { get; } =
        Path.GetFileName(Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory));

    /// <summary>Every file under a folder of the project that is ours, by its path relative to the root.</summary>
    public static IEnumerable<string> Files(string folder, params string[] extensions) =>
        Walk(Path.Combine(Root, folder))
            .Where(file => extensions.Length == 0 || extensions.Contains(Path.GetExtension(file)))
            .Select(file => Path.GetRelativePath(Root, file))
            .Order(StringComparer.Ordinal);

    public static string[] Lines(string file) => File.ReadAllLines(Path.Combine(Root, file));

    public static string Text(string file) => File.ReadAllText(Path.Combine(Root, file));

    /// <summary>The built assembly of a project.</summary>
    public static string Assembly(string project, string? assemblyName = null) =>
        Path.Combine(Root, "artifacts", "bin", project, Configuration, $"{assemblyName ?? project}.dll");

    private static IEnumerable<string> Walk(string folder)
    {
        foreach (var file in Directory.EnumerateFiles(folder))
        {
            yield return file;
        }

        foreach (var child in Directory.EnumerateDirectories(folder))
        {
            if (s_notOurs.Contains(Path.GetFileName(child)))
            {
                continue;
            }

            foreach (var file in Walk(child))
            {
                yield return file;
            }
        }
    }

    private static string FindRoot()
    {
        for (var folder = AppContext.BaseDirectory; folder is not null; folder = Path.GetDirectoryName(folder))
        {
            if (File.Exists(Path.Combine(folder, "Tidemark.slnx")))
            {
                return folder;
            }
        }

        throw new InvalidOperationException($"no Tidemark.slnx above {AppContext.BaseDirectory}");
    }
}
