using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Nodes;
using Tidemark.Cli.Terminal;
using Tidemark.Qcow2;

namespace Tidemark.Cli.Nbd;

/// <summary>The disk behind <c>nbd serve</c>: an image with everything below it, opened as qemu-nbd opens it.</summary>
internal sealed class ServedDisk : IAsyncDisposable
{
    private readonly Qcow2Chain _chain;
    private readonly ProbedRawFilter? _filter;

    private ServedDisk(Qcow2Chain chain, ProbedRawFilter? filter)
    {
        _chain = chain;
        _filter = filter;
    }

    /// <summary>What clients see.</summary>
    public BlockNode Node => (BlockNode?)_filter ?? _chain.Top;

    /// <summary>Opens an image.</summary>
    /// <param name="path">The image or device.</param>
    /// <param name="format">Its format; null to look at its first bytes.</param>
    /// <param name="readOnly">Whether nobody may write.</param>
    /// <param name="console">For the warning about a guessed format.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public static async Task<ServedDisk> OpenAsync(
        string path, string? format, bool readOnly, CommandConsole console, CancellationToken cancellationToken)
    {
        var chain = await Qcow2Chain.OpenAsync(
            Path.GetFullPath(path),
            new Qcow2ChainOptions { Format = format, ReadOnly = readOnly, NodeName = "disk" },
            cancellationToken);
        if (format is not null || chain.Top.Driver == "qcow2")
        {
            return new ServedDisk(chain, null);
        }

        console.WriteWarning(
            $"the format of '{path}' was not given, and it looks like a raw disk. "
            + (readOnly
                ? "Say --format raw to be sure."
                : "Writes that would make its first sector look like an image are refused; --format raw allows them."));
        return new ServedDisk(chain, readOnly ? null : new ProbedRawFilter("probed", chain.Top));
    }

    /// <summary>A bitmap of the disk, or of the image below it that is the first to have one of that name.</summary>
    /// <exception cref="CliException">There is none.</exception>
    public DirtyBitmap FindBitmap(string name)
    {
        for (var node = Node; node is not null;
            node = node.ChildOf(node.IsFilter ? ChildRole.File : ChildRole.Backing))
        {
            if (node.Bitmaps.Find(name) is { } bitmap)
            {
                return bitmap;
            }

            if (node is Qcow2Node { BitmapProblem: { } problem })
            {
                throw new CliException($"the bitmaps of '{node.Name}' cannot be read: {problem}");
            }
        }

        throw new CliException($"--bitmap '{name}': no image of the backing chain has a bitmap of this name");
    }

    /// <summary>Closes the images, which stores their bitmaps.</summary>
    /// <exception cref="BlockException">Not everything could be stored.</exception>
    public async ValueTask DisposeAsync()
    {
        if (_filter is not null)
        {
            await _filter.DisposeAsync();
        }

        await _chain.DisposeAsync();
    }
}
