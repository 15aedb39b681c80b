using Tidemark.Blocks.Files;
using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Format;

namespace Tidemark.Qcow2;

/// <summary>
/// An image and everything below it, opened by file name as QEMU does it: the name in an image is taken relative to
/// that image's directory, the format from its header extension, or by probing when it does not say. Only the top may
/// be writable. Owns all nodes.
/// </summary>
public sealed class Qcow2Chain : IAsyncDisposable
{
    private readonly List<BlockNode> _owned;

    private Qcow2Chain(BlockNode top, List<BlockNode> owned)
    {
        Top = top;
        _owned = owned;
    }

    /// <summary>The disk.</summary>
    public BlockNode Top { get; }

    /// <summary>Opens a chain.</summary>
    /// <exception cref="BlockException">A file cannot be opened, the chain is a loop or deeper than <see
    /// cref="Qcow2Limits.MaximumChainDepth"/>, or a name is of a kind that is not supported.</exception>
    public static async ValueTask<Qcow2Chain> OpenAsync(
        string path, Qcow2ChainOptions options, CancellationToken cancellationToken = default)
    {
        List<BlockNode> owned = [];
        try
        {
            var top = await OpenImageAsync(path, options.Format, options, owned, [], cancellationToken)
                .ConfigureAwait(false);
            return new Qcow2Chain(top, owned);
        }
        catch
        {
            await DisposeAllAsync(owned).ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>The path of a backing file whose name stands in the image at <paramref name="imagePath"/>.</summary>
    /// <exception cref="Qcow2Exception">The name is a <c>json:</c> description or has a protocol.</exception>
    public static string ResolveBackingFile(string imagePath, string name)
    {
        if (name.StartsWith("file:", StringComparison.Ordinal))
        {
            // With a protocol a name stands by itself: it is not relative to the image.
            return name["file:".Length..];
        }

        if (name.IndexOf(':') is var colon && colon > 0 && name.AsSpan(0, colon).IndexOf('/') < 0)
        {
            throw Qcow2Exception.NotSupported(
                $"the backing file '{name}' of '{imagePath}' is given by protocol '{name[..colon]}', which is "
                + "not supported");
        }

        return Path.Combine(Path.GetDirectoryName(imagePath) ?? "", name);
    }

    /// <summary>Closes the images from the top down.</summary>
    /// <exception cref="BlockException">The top could not be stored in full; all are closed all the same.</exception>
    public ValueTask DisposeAsync() => DisposeAllAsync(_owned);

    private static async ValueTask<BlockNode> OpenImageAsync(
        string path,
        string? format,
        Qcow2ChainOptions options,
        List<BlockNode> owned,
        HashSet<string> seen,
        CancellationToken cancellationToken)
    {
        var depth = seen.Count;
        if (!seen.Add(RealPath(path)))
        {
            throw Qcow2Exception.Corrupt($"the backing chain of '{seen.First()}' is a loop: '{path}' comes twice");
        }

        if (depth >= Qcow2Limits.MaximumChainDepth)
        {
            throw Qcow2Exception.NotSupported(
                $"the backing chain of '{seen.First()}' is deeper than {Qcow2Limits.MaximumChainDepth} images");
        }

        var name = depth == 0 ? options.NodeName : $"{options.NodeName}-backing{depth}";
        var readOnly = options.ReadOnly || depth > 0;
        var file = RawFileNode.Open($"{name}-file", path, readOnly);
        owned.Add(file);
        format ??= await Qcow2Image.IsQcow2Async(file, cancellationToken).ConfigureAwait(false) ? "qcow2" : "raw";
        if (format == "raw")
        {
            return file;
        }

        if (format != "qcow2")
        {
            throw Qcow2Exception.NotSupported($"format '{format}' of '{path}' is not supported; raw and qcow2 are");
        }

        var header = await Qcow2Image.ReadHeaderAsync(file, cancellationToken).ConfigureAwait(false);
        BlockNode? backing = null;
        if (header.BackingFile is { } below)
        {
            CheckFollows(options, path, "backing file", below);
            backing = await OpenImageAsync(
                ResolveBackingFile(path, below), header.BackingFormat, options, owned, seen, cancellationToken)
                .ConfigureAwait(false);
        }

        RawFileNode? data = null;
        if (header.HasDataFile)
        {
            var dataName = header.DataFile
                ?? throw Qcow2Exception.Corrupt($"'{path}' has an external data file and does not say which");
            CheckFollows(options, path, "data file", dataName);
            data = RawFileNode.Open($"{name}-data", ResolveDataFile(path, dataName), readOnly);
            owned.Add(data);
        }

        var image = await Qcow2Node.OpenAsync(
            name,
            file,
            new Qcow2OpenOptions
            {
                ReadOnly = readOnly,
                Backing = backing,
                DataFile = data,
                MetadataCacheLimit = options.MetadataCacheLimit,
            },
            cancellationToken).ConfigureAwait(false);
        owned.Add(image);
        return image;
    }

    // As QEMU does it: the name of a data file, unlike that of a backing file, is not relative to the image.
    private static string ResolveDataFile(string imagePath, string name)
    {
        var relative = ResolveBackingFile(imagePath, name);
        return name.StartsWith("file:", StringComparison.Ordinal) ? relative : name;
    }

    private static void CheckFollows(Qcow2ChainOptions options, string path, string what, string name)
    {
        if (!options.FollowNames)
        {
            throw Qcow2Exception.NotSupported(
                $"'{path}' has the {what} '{name}', and following such names is off");
        }
    }

    private static string RealPath(string path)
    {
        var full = Path.GetFullPath(path);
        return File.ResolveLinkTarget(full, returnFinalTarget: true)?.FullName ?? full;
    }

    // Users come after what they use in the list, so it is walked from its end. The first error wins.
    private static async ValueTask DisposeAllAsync(List<BlockNode> owned)
    {
        BlockException? first = null;
        for (var index = owned.Count - 1; index >= 0; index--)
        {
            try
            {
                await owned[index].DisposeAsync().ConfigureAwait(false);
            }
            catch (BlockException exception)
            {
                first ??= exception;
            }
        }

        owned.Clear();
        if (first is not null)
        {
            throw new BlockException(first.Kind, first.Message, first);
        }
    }
}
