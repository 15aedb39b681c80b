using Xunit;

namespace Tidemark.Interop.Tests.LinuxGuest;

/// <summary>What a Linux guest is made of: a kernel, its modules and busybox, unpacked by
/// <c>tools/get-test-guest</c>.</summary>
internal static class GuestKit
{
    private const string Variable = "TIDEMARK_TEST_GUEST";

    /// <summary>The kernel's path.</summary>
    public static string Kernel => Path.Combine(Folder(), "vmlinuz");

    public static void SkipUnlessThere() =>
        Assert.SkipUnless(File.Exists(Kernel), "not installed: GUEST@linux");

    /// <summary>Writes the guest's first file system, whose only program of ours is <c>init.sh</c>.</summary>
    public static void WriteInitramfs(string path)
    {
        using var target = File.Create(path);
        var archive = new CpioArchive(target);
        archive.AddDirectory("bin");
        archive.AddDirectory("dev");
        archive.AddDirectory("modules");
        archive.AddDevice("dev/console", 5, 1);
        archive.AddFile("bin/busybox", File.ReadAllBytes(Path.Combine(Folder(), "busybox")));
        var modules = Directory.EnumerateFiles(Path.Combine(Folder(), "modules"));
        foreach (var module in modules.Order(StringComparer.Ordinal))
        {
            archive.AddFile($"modules/{Path.GetFileName(module)}", File.ReadAllBytes(module));
        }

        archive.AddFile("init", File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "LinuxGuest", "init.sh")));
        archive.End();
    }

    private static string Folder()
    {
        if (Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } named)
        {
            return named;
        }

        var cache = Environment.GetEnvironmentVariable("XDG_CACHE_HOME");
        return Path.Combine(
            string.IsNullOrEmpty(cache)
                ? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache")
                : cache,
            "tidemark", "guest");
    }
}
