using Tidemark.Testing;

namespace Tidemark.Backup.Tests.Domains;

/// <summary>A folder that can be filled: a file system of its own, of a few megabytes.</summary>
internal sealed class SmallFolder : IAsyncDisposable
{
    private readonly string _path;

    private SmallFolder(string path) => _path = path;

    internal static async Task<SmallFolder> MountAsync(string path, int megabytes)
    {
        Directory.CreateDirectory(path);
        await Tool.RunOkAsync("mount", "-t", "tmpfs", "-o", $"size={megabytes}m", "tidemark-test", path);
        return new SmallFolder(path);
    }

    public async ValueTask DisposeAsync() => await Tool.RunOkAsync("umount", _path);
}
