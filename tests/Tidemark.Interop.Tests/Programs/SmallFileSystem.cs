using Tidemark.Testing;

namespace Tidemark.Interop.Tests.Programs;

/// <summary>A directory with little room: a tmpfs of a given size, unmounted at disposal. Needs root.</summary>
internal sealed class SmallFileSystem : IAsyncDisposable
{
    private readonly string _path;

    private SmallFileSystem(string path) => _path = path;

    public static async Task<SmallFileSystem> MountAsync(
        string path, int megabytes, CancellationToken token)
    {
        token.ThrowIfCancellationRequested();
        Directory.CreateDirectory(path);
        await Tool.RunOkAsync("mount", "-t", "tmpfs", "-o", $"size={megabytes}m", "tidemark-test", path);
        return new SmallFileSystem(path);
    }

    public async Task GrowAsync(int megabytes, CancellationToken token)
    {
        token.ThrowIfCancellationRequested();
        await Tool.RunOkAsync("mount", "-o", $"remount,size={megabytes}m", _path);
    }

    public async ValueTask DisposeAsync() => await Tool.RunAsync("umount", ["-l", _path]);
}
