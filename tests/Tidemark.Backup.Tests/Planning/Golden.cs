namespace Tidemark.Backup.Tests.Planning;

/// <summary>Golden files: compared with what is made; TIDEMARK_GOLDEN=write writes them anew.</summary>
internal static class Golden
{
    internal static string Folder
    {
        get
        {
            for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
            {
                if (File.Exists(Path.Combine(folder.FullName, "Tidemark.slnx")))
                {
                    return Path.Combine(folder.FullName, "tests", "Tidemark.Backup.Tests", "Golden");
                }
            }

            throw new InvalidOperationException("the repository's root was not found");
        }
    }

    internal static void Check(string name, string actual)
    {
        var path = Path.Combine(Folder, name);
        if (Environment.GetEnvironmentVariable("TIDEMARK_GOLDEN") == "write")
        {
            File.WriteAllText(path, actual);
        }

        Assert.True(File.Exists(path), $"{path} is missing: run once with TIDEMARK_GOLDEN=write");
        Assert.Equal(File.ReadAllText(path), actual);
    }
}
