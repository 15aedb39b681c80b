namespace Tidemark.Testing;

/// <summary>
/// The QEMU releases that tests compare with side by side: unpacked by <c>tools/get-qemu-versions</c>, which
/// <c>./test</c> calls where it may, into <c>$TIDEMARK_QEMU_VERSIONS</c> or the user's cache folder.
/// </summary>
public static class QemuVersions
{
    /// <summary>The variable that names the folder of versions.</summary>
    public const string Variable = "TIDEMARK_QEMU_VERSIONS";

    /// <summary>The versions that the project measures, oldest first, whether they are there or not.</summary>
    public static IReadOnlyList<string> Wanted { get; } = ["5.2", "7.2", "10.0", "11.1"];

    /// <summary>The versions that are there, oldest first.</summary>
    public static IReadOnlyList<QemuVersion> All { get; } = [.. Read().OrderBy(version => version.Version)];

    /// <summary>The newest version that is there, or null.</summary>
    public static QemuVersion? Newest => All.Count == 0 ? null : All[^1];

    /// <summary>
    /// The version, or null. Debian's unstable release moves on: for the last of <see cref="Wanted"/> a newer one
    /// serves.
    /// </summary>
    public static QemuVersion? Find(string name) =>
        All.FirstOrDefault(version => version.Name == name)
        ?? (name == Wanted[^1] && Newest?.Version > Version.Parse(name) ? Newest : null);

    /// <summary>The version, or the test is skipped with the reason (which <c>./test</c> judges).</summary>
    public static QemuVersion Need(string name)
    {
        var version = Find(name);
        Xunit.Assert.SkipWhen(version is null, $"not installed: QEMU@{name}");
        return version!;
    }

    /// <summary>The reason to skip, or null when all the versions are there.</summary>
    public static string? Missing(params string[] names)
    {
        var missing = names.Where(name => Find(name) is null).Select(name => $"QEMU@{name}").ToArray();
        return missing.Length == 0 ? null : $"not installed: {string.Join(", ", missing)}";
    }

    private static IEnumerable<QemuVersion> Read()
    {
        var folder = Folder();
        if (folder is null || !Directory.Exists(folder))
        {
            yield break;
        }

        foreach (var path in Directory.EnumerateDirectories(folder))
        {
            var name = Path.GetFileName(path);
            if (Version.TryParse(name, out var version) && File.Exists(Path.Combine(path, "qemu-img")))
            {
                yield return new QemuVersion(name, version, path);
            }
        }
    }

    private static string? Folder()
    {
        if (Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } named)
        {
            return named;
        }

        var cache = Environment.GetEnvironmentVariable("XDG_CACHE_HOME");
        if (string.IsNullOrEmpty(cache))
        {
            var home = Environment.GetEnvironmentVariable("HOME");
            cache = string.IsNullOrEmpty(home) ? null : Path.Combine(home, ".cache");
        }

        return cache is null ? null : Path.Combine(cache, "tidemark", "qemu");
    }
}
