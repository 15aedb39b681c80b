using System.Text.Json.Nodes;
using Tidemark.Backup.Running;
using Tidemark.Blocks.Nodes;
using Tidemark.Cli.Terminal;
using Tidemark.Engine;
using Tidemark.Qmp;

namespace Tidemark.Cli.Sources;

/// <summary>
/// An image at rest, opened by the embedded engine in this process: from here on it is a hypervisor like any other, and
/// the backup of it is the backup of a running machine.
/// </summary>
/// <remarks>
/// The engine takes QEMU's image locks, so an image that anybody else has open is refused, and nobody opens it while
/// this runs. Disposal closes the image, which stores its bitmaps: a failure of that is a failure.
/// </remarks>
internal sealed class ImageSession : IAsyncDisposable
{
    private static readonly byte[] s_qcow2Magic = [(byte)'Q', (byte)'F', (byte)'I', 0xfb];

    private readonly StorageEngine _engine;
    private readonly string _path;

    private ImageSession(StorageEngine engine, string path)
    {
        _engine = engine;
        _path = path;
    }

    /// <summary>The image as the source of a backup; its state is kept under the image's full path.</summary>
    public HypervisorSource Source => new(
        _path, async cancellationToken => await _engine.ConnectInProcessAsync(cancellationToken));

    /// <summary>Opens the images of one machine at rest: qcow2 images to be written (their bitmaps are), raw ones only
    /// to be read.</summary>
    /// <param name="images">The disks' names and images.</param>
    /// <param name="format">The format of all of them, <c>raw</c> or <c>qcow2</c>; null goes by their first
    /// bytes.</param>
    /// <param name="time">The clock.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="CliException">One does not exist, is in use, is damaged, or needs what is not supported; none
    /// stays open.</exception>
    public static async Task<ImageSession> OpenAsync(
        IReadOnlyList<(string Name, string Path)> images,
        string? format,
        TimeProvider time,
        CancellationToken cancellationToken)
    {
        var engine = new StorageEngine(time);
        var full = "";
        try
        {
            await using var monitor = await engine.ConnectInProcessAsync(cancellationToken);
            foreach (var (name, path) in images)
            {
                full = Path.GetFullPath(path);
                var isQcow2 = format is null ? IsQcow2(full) : format == "qcow2";
                await monitor.ExecuteAsync(
                    new QmpCommand("blockdev-add", new JsonObject
                    {
                        ["driver"] = isQcow2 ? "qcow2" : "raw",
                        ["node-name"] = name,
                        ["read-only"] = !isQcow2,
                        ["file"] = new JsonObject { ["driver"] = "file", ["filename"] = full },
                    }),
                    cancellationToken);
            }

            return new ImageSession(engine, string.Join(", ", images.Select(image => Path.GetFullPath(image.Path))));
        }
        catch (QmpException exception)
        {
            await engine.DisposeAsync();
            throw new CliException($"could not open the image '{full}': {exception.Description}", exception);
        }
        catch
        {
            await engine.DisposeAsync();
            throw;
        }
    }

    /// <summary>Closes the image after a failure, which stays the first error; another one is only told.</summary>
    public async Task CloseAfterFailureAsync(CommandConsole console)
    {
        try
        {
            await DisposeAsync();
        }
        catch (BlockException exception)
        {
            console.WriteWarning($"the image '{_path}' was not closed well: {exception.Message}");
        }
    }

    /// <inheritdoc/>
    /// <exception cref="BlockException">The image could not be closed well: its bitmaps may not be stored.</exception>
    public ValueTask DisposeAsync() => _engine.DisposeAsync();

    // A raw disk whose guest wrote this magic at its beginning would be taken for an image, with whatever backing file
    // the guest named: whose guests are not trusted says what format their disks have.
    private static bool IsQcow2(string path)
    {
        try
        {
            using var file = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
            var head = new byte[s_qcow2Magic.Length];
            return RandomAccess.Read(file, head, 0) == head.Length && head.AsSpan().SequenceEqual(s_qcow2Magic);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new CliException($"could not open the image '{path}': {exception.Message}", exception);
        }
    }
}
