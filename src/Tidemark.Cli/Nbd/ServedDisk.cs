using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Nodes;
using Tidemark.Cli.Terminal;
using Tidemark.Images.Opening;

namespace Tidemark.Cli.Nbd;

/// <summary>The disk behind <c>nbd serve</c>: an image with everything below it, opened as qemu-nbd opens it.</summary>
internal sealed class ServedDisk : IAsyncDisposable
{
    /// <summary>The most memory for the L2 tables of the chain: 64 GiB of disk in clusters of 64 KiB.</summary>
    private const long MetadataCacheLimit = 8 << 20;

    private readonly OpenImage _image;

    private ServedDisk(OpenImage image) => _image = image;

    /// <summary>What clients see.</summary>
    public BlockNode Node => _image.Top;

    /// <summary>Opens an image.</summary>
    /// <param name="path">The image, device or URI.</param>
    /// <param name="format">Its format; null to look at its first bytes.</param>
    /// <param name="readOnly">Whether nobody may write.</param>
    /// <param name="console">For the warning about a guessed format.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public static async Task<ServedDisk> OpenAsync(
        string path, string? format, bool readOnly, CommandConsole console, CancellationToken cancellationToken)
    {
        var options = new ImageOpenOptions
        {
            Format = format,
            Writable = !readOnly,
            NodeName = "disk",
            MetadataCacheLimit = MetadataCacheLimit,
        };
        OpenImage image;
        try
        {
            image = await ImageOpener.OpenAsync(path, options, cancellationToken);
        }
        catch (BlockException exception) when (!exception.Message.Contains(path, StringComparison.Ordinal))
        {
            throw new CliException($"could not open '{path}': {exception.Message}", exception);
        }

        if (image.TopLayer is { IsRaw: true, WasProbed: true })
        {
            console.WriteWarning(
                $"the format of '{path}' was not given, and it looks like a raw disk. "
                + (readOnly
                    ? "Say --format raw to be sure."
                    : "Writes that would make it look like another format are refused; --format raw allows them."));
        }

        return new ServedDisk(image);
    }

    /// <summary>A bitmap of the disk, or of the first image below it that has one of that name.</summary>
    /// <exception cref="CliException">There is none.</exception>
    public DirtyBitmap FindBitmap(string name)
    {
        foreach (var layer in _image.Layers)
        {
            if (layer.Node.Bitmaps.Find(name) is { } bitmap)
            {
                return bitmap;
            }

            if (layer.Qcow2?.BitmapProblem is { } problem)
            {
                throw new CliException(
                    $"--bitmap '{name}': the bitmaps of '{layer.FileName}' cannot be read: {problem}");
            }
        }

        throw new CliException($"--bitmap '{name}': no image of the backing chain has a bitmap of this name");
    }

    /// <summary>Closes the images, which stores their bitmaps.</summary>
    /// <exception cref="BlockException">Not everything could be stored.</exception>
    public ValueTask DisposeAsync() => _image.DisposeAsync();
}
