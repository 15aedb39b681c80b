namespace Tidemark.Backup.Tests.Transcripts;

/// <summary>What may lie beside the repository: recordings of other tools, read by tests where they are
/// there.</summary>
internal static class Shared
{
    internal static string? Folder(string path)
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            var shared = Path.Combine(folder.FullName, "shared", path);
            if (Directory.Exists(shared))
            {
                return shared;
            }
        }

        return null;
    }
}
