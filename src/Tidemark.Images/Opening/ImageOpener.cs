// How an image is opened: down, then up.
//
//   down   from the top, each image's file is opened, its format found and its header read; the header, or the options
//          of a json: name, says what comes below. Nothing but headers is read. A loop, a chain that is too deep and a
//          name that may not be followed end here.
//   up     from the bottom, each image becomes a node over its file, with the node below as its backing.
//
// Names are resolved as QEMU does it: a relative name in an image is taken from that image's directory, as the
// image's own name was written (links are not followed first).

using Tidemark.Blocks.Files;
using Tidemark.Blocks.Nodes;
using Tidemark.Images.Formats;
using Tidemark.Images.Naming;
using Tidemark.Nbd.Client;
using Tidemark.Qcow2;
using Tidemark.Qcow2.Format;

namespace Tidemark.Images.Opening;

/// <summary>Opens an image by its name, with everything below it: files and NBD exports, raw and qcow2.</summary>
public sealed class ImageOpener
{
    private readonly ImageOpenOptions _options;
    private readonly List<BlockNode> _owned = [];
    private readonly List<Level> _levels = [];
    private readonly HashSet<string> _seen = new(StringComparer.Ordinal);

    private ImageOpener(ImageOpenOptions options) => _options = options;

    /// <summary>Opens an image.</summary>
    /// <param name="name">A path, <c>file:PATH</c>, an NBD URI, <c>nbd:…</c> or <c>json:{…}</c>.</param>
    /// <param name="options">How; null for reading only.</param>
    /// <param name="cancellationToken">Stops the opening.</param>
    /// <exception cref="BlockException">Something cannot be opened or is locked, the chain is a loop or deeper than
    /// <see cref="Qcow2Limits.MaximumChainDepth"/>, or a name, format or option is not supported.</exception>
    public static async ValueTask<OpenImage> OpenAsync(
        string name, ImageOpenOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(name);
        ImageOpener opener = new(options ?? new ImageOpenOptions());
        try
        {
            await opener.DescendAsync(ImageSource.Of(name, opener._options.Format), cancellationToken)
                .ConfigureAwait(false);
            return new OpenImage(await opener.AscendAsync(cancellationToken).ConfigureAwait(false), opener._owned);
        }
        catch
        {
            await OpenImage.DisposeAllAsync(opener._owned).ConfigureAwait(false);
            throw;
        }
    }

    private async ValueTask DescendAsync(ImageSource? source, CancellationToken cancellationToken)
    {
        HashSet<ImageOptions> descriptions = [];
        while (source is not null)
        {
            if (source.Options is { } description)
            {
                descriptions.Add(description);
            }

            var level = await OpenLevelAsync(source, cancellationToken).ConfigureAwait(false);
            await OpenDataFileAsync(level, source, cancellationToken).ConfigureAwait(false);
            source = Below(level, source);
            _levels.Add(level);
        }

        if (_options.Snapshot is not null && _levels[0].Header is null)
        {
            throw ImageException.NotSupported(
                $"Failed to load snapshot: '{_levels[0].FileName}' is {_levels[0].Format}, which has none");
        }

        foreach (var description in descriptions)
        {
            description.CheckAllTaken();
        }
    }

    private async ValueTask<Level> OpenLevelAsync(ImageSource source, CancellationToken cancellationToken)
    {
        var (format, place, withoutLocks) = source.Read();
        var depth = _levels.Count;
        if (!_seen.Add(place.Identity))
        {
            throw new ImageException(
                BlockErrorKind.Corrupt,
                $"the backing chain of '{_levels[0].FileName}' is a loop: '{place.DisplayName}' comes twice");
        }

        if (depth >= Qcow2Limits.MaximumChainDepth)
        {
            throw ImageException.NotSupported(
                $"the backing chain of '{_levels[0].FileName}' is deeper than {Qcow2Limits.MaximumChainDepth} images");
        }

        if (format is not null)
        {
            ImageFormat.Require(format, place.DisplayName, wasProbed: false);
        }

        var name = depth == 0 ? _options.NodeName : $"{_options.NodeName}-backing{depth}";
        var file = await OpenFileAsync($"{name}-file", place, IsWritable(depth), withoutLocks, cancellationToken)
            .ConfigureAwait(false);
        _owned.Add(file);
        var probed = format is null;
        format ??= await ImageFormat.ProbeAsync(file, cancellationToken).ConfigureAwait(false);
        ImageFormat.Require(format, place.DisplayName, probed);
        Qcow2Header? header = null;
        long? offset = null, size = null;
        if (format == ImageFormat.Qcow2)
        {
            header = await Qcow2Image.ReadHeaderAsync(file, cancellationToken).ConfigureAwait(false);
        }
        else
        {
            offset = source.Options?.TakeNumber($"{source.Prefix}offset");
            size = source.Options?.TakeNumber($"{source.Prefix}size");
        }

        return new Level(name, place.DisplayName, place.Path, format, probed, file, header)
        {
            Offset = offset ?? 0,
            Size = size,
        };
    }

    // The guest data of an image may lie in a file of its own.
    private async ValueTask OpenDataFileAsync(Level level, ImageSource source, CancellationToken cancellationToken)
    {
        if (level.Header is not { HasDataFile: true } header || _options.HeadersOnly)
        {
            return;
        }

        var given = source.ReadChild("data-file");
        if (given is null && header.DataFile is null)
        {
            throw ImageException.NotSupported(
                $"'{level.FileName}' has an external data file and does not say its name; describe it with a json: "
                + "name");
        }

        if (given is null && !_options.FollowNames)
        {
            throw ImageException.NotSupported(
                $"'{level.FileName}' has the data file '{header.DataFile}', and following such names is off");
        }

        given ??= ImageSource.Of(ImageName.Resolve(level.FileName, level.Path, header.DataFile!), "raw");
        var (format, place, withoutLocks) = given.Read();
        if (format is not (null or "raw") || !_seen.Add(place.Identity))
        {
            throw ImageException.Invalid(
                $"the data file '{place.DisplayName}' of '{level.FileName}' must be a raw file of its own");
        }

        level.DataFile = await OpenFileAsync(
            $"{level.NodeName}-data", place, IsWritable(_levels.Count), withoutLocks, cancellationToken)
            .ConfigureAwait(false);
        level.DataFileName = place.DisplayName;
        _owned.Add(level.DataFile);
    }

    private bool IsWritable(int depth) =>
        _options.Writable && (depth == 0 || depth == _options.WritableDepth);

    // What lies below an image; the level learns what its header's name comes to.
    private ImageSource? Below(Level level, ImageSource source)
    {
        if (level.Header is not { } header)
        {
            return null;
        }

        var isTop = _levels.Count == 0;
        var given = source.ReadBacking(out var isNone);
        if (header.BackingFile is not null && (level.Path is not null || ImageName.HasProtocol(header.BackingFile)))
        {
            level.FullBackingName = ImageName.Resolve(level.FileName, level.Path, header.BackingFile);
        }

        if (given is not null || isNone || header.BackingFile is not { } named || (isTop && _options.WithoutBacking))
        {
            return _options.WithoutBacking ? null : given;
        }

        if (!_options.FollowNames)
        {
            throw ImageException.NotSupported(
                $"'{level.FileName}' has the backing file '{named}', and following such names is off");
        }

        var name = level.FullBackingName ?? ImageName.Resolve(level.FileName, level.Path, named);
        return ImageSource.Of(name, ImageName.IsJson(name) ? null : header.BackingFormat);
    }

    private async ValueTask<BlockNode> OpenFileAsync(
        string name, ImagePlace place, bool writable, bool withoutLocks, CancellationToken cancellationToken)
    {
        if (place.Path is { } path)
        {
            return RawFileNode.Open(name, path, new RawFileOptions
            {
                ReadOnly = !writable,
                ForceShare = _options.ForceShare,
                Locking = !withoutLocks && !_options.WithoutLocks,
                WithoutFlush = writable && _options.WithoutFlush,
            });
        }

        return await NbdNode.ConnectAsync(
            name,
            place.EndPoint!,
            new NbdNodeOptions
            {
                ExportName = place.ExportName,
                ReadOnly = !writable,
                Connections = _options.NbdConnections,
                MetaContexts = _options.MetaContexts,
            },
            cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask<IReadOnlyList<ImageLayer>> AscendAsync(CancellationToken cancellationToken)
    {
        List<ImageLayer> layers = [];
        BlockNode? below = null;
        for (var index = _levels.Count - 1; index >= 0; index--)
        {
            var level = _levels[index];
            var writable = IsWritable(index);
            var node = level.File;
            if (!_options.HeadersOnly)
            {
                node = level.Header is null
                    ? OpenRaw(level, writable)
                    : await OpenQcow2Async(
                        level, below, writable, await FindSnapshotAsync(level, index, cancellationToken)
                            .ConfigureAwait(false), cancellationToken).ConfigureAwait(false);
                _owned.Add(node);
            }

            layers.Insert(0, new ImageLayer
            {
                FileName = level.FileName,
                Path = level.Path,
                Format = level.Format,
                WasProbed = level.WasProbed,
                Node = node,
                File = level.File,
                Header = level.Header,
                DataFile = level.DataFile,
                DataFileName = level.DataFileName,
                RawOffset = level.Offset,
                FullBackingName = level.FullBackingName,
            });
            below = node;
        }

        return layers;
    }

    private async ValueTask<InternalSnapshot?> FindSnapshotAsync(
        Level level, int depth, CancellationToken cancellationToken) =>
        depth == 0 && _options.Snapshot is { } wanted
            ? await wanted.FindAsync(level.File, level.FileName, cancellationToken).ConfigureAwait(false)
            : null;

    private static BlockNode OpenRaw(Level level, bool writable)
    {
        var isPart = level.Offset != 0 || level.Size is not null;
        if (!writable && !isPart && level.File.Length % PaddedNode.SectorSize != 0)
        {
            return new PaddedNode(level.NodeName, level.File);
        }

        return level.WasProbed && writable && !isPart
            ? new ProbedRawNode(level.NodeName, level.File)
            : new RawNode(level.NodeName, level.File, level.Offset, level.Size, readOnly: !writable);
    }

    private async ValueTask<BlockNode> OpenQcow2Async(
        Level level, BlockNode? backing, bool writable, InternalSnapshot? snapshot,
        CancellationToken cancellationToken) =>
        await Qcow2Node.OpenAsync(
            level.NodeName,
            level.File,
            new Qcow2OpenOptions
            {
                ReadOnly = !writable,
                Backing = backing,
                WithoutBacking = backing is null,
                DataFile = level.DataFile,
                Snapshot = snapshot,
                BrokenBitmaps = _options.BrokenBitmaps,
                MetadataCacheLimit = _options.MetadataCacheLimit / _levels.Count,
            },
            cancellationToken).ConfigureAwait(false);

    private sealed record Level(
        string NodeName,
        string FileName,
        string? Path,
        string Format,
        bool WasProbed,
        BlockNode File,
        Qcow2Header? Header)
    {
        internal long Offset { get; init; }

        internal long? Size { get; init; }

        internal string? FullBackingName { get; set; }

        internal BlockNode? DataFile { get; set; }

        internal string? DataFileName { get; set; }
    }
}
