// Why the disk reads the same afterwards: what the image has allocated itself does not depend on the backing file.
// Every range that it has not is compared, byte by byte, between what shows through now and what would show then
// (zeroes where the new backing file ends, or there is none); where they differ, what shows now is written into the
// image. A range is skipped without being read only where both say that it is zero, or where the very image file that
// answers for it now is the new backing file or lies below it in the same chain. The image is durable before its header
// names the new backing file.

using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;
using Tidemark.Images.Parts;
using Tidemark.Images.Formats;
using Tidemark.Images.Mapping;
using Tidemark.Images.Naming;
using Tidemark.Images.Opening;

namespace Tidemark.Images.Rebasing;

/// <summary>Gives an image another backing file, and keeps what the disk reads as.</summary>
public sealed class ImageRebase
{
    private const int PartLength = 1 << 20;

    private readonly OpenImage _image;
    private readonly BlockNode? _backing;
    private readonly int _sharedDepth;
    private readonly int _unit;
    private readonly DiskProgress _progress;

    private ImageRebase(OpenImage image, OpenImage? backing, Action<double>? report)
    {
        _image = image;
        _backing = backing?.Top;
        _sharedDepth = SharedDepth(image, backing);
        _unit = image.TopLayer.Header!.ClusterSize;
        _progress = new DiskProgress(report);
    }

    /// <summary>Rebases. Durable when the call completes.</summary>
    /// <exception cref="BlockException">An image cannot be opened, read or written, or has no backing
    /// files.</exception>
    public static async Task RunAsync(
        string name, ImageOpenOptions open, RebaseOptions options, CancellationToken cancellationToken = default)
    {
        var hasName = options.BackingFile.Length > 0;
        if (hasName && string.IsNullOrEmpty(options.BackingFormat))
        {
            throw ImageException.Invalid(
                $"Could not change the backing file to '{options.BackingFile}': backing format must be specified");
        }

        if (hasName)
        {
            ImageFormat.Require(options.BackingFormat!, options.BackingFile, wasProbed: false);
        }

        var image = await ImageOpener.OpenAsync(
            name,
            open with { Writable = true, ForceShare = false, WithoutBacking = options.OnlyName },
            cancellationToken).ConfigureAwait(false);
        await using var closing = image.ConfigureAwait(false);
        if (image.TopLayer.Qcow2 is not { } top)
        {
            throw ImageException.NotSupported($"'{name}' is raw: it cannot have a backing file");
        }

        if (!options.OnlyName)
        {
            await KeepContentAsync(image, open, options, cancellationToken).ConfigureAwait(false);
        }

        await top.FlushAsync(cancellationToken).ConfigureAwait(false);
        await top.ChangeBackingFileAsync(
            hasName ? options.BackingFile : null, hasName ? options.BackingFormat : null, cancellationToken)
            .ConfigureAwait(false);
    }

    private static async Task KeepContentAsync(
        OpenImage image, ImageOpenOptions open, RebaseOptions options, CancellationToken cancellationToken)
    {
        OpenImage? backing = null;
        try
        {
            if (options.BackingFile.Length > 0)
            {
                var layer = image.TopLayer;
                var full = ImageName.Resolve(layer.FileName, layer.Path, options.BackingFile);
                backing = await ImageOpener.OpenAsync(
                    full,
                    open with { Format = ImageName.IsJson(full) ? null : options.BackingFormat, NodeName = "new" },
                    cancellationToken).ConfigureAwait(false);
            }

            ImageRebase rebase = new(image, backing, options.Report);
            await PartPipeline.RunAsync(
                Math.Max(2, Environment.ProcessorCount), 2 * Math.Max(PartLength, rebase._unit),
                rebase.ProduceAsync, rebase.KeepAsync, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            if (backing is not null)
            {
                await backing.DisposeAsync().ConfigureAwait(false);
            }
        }
    }

    // From which depth on the images of the old chain are those of the new one too.
    private static int SharedDepth(OpenImage image, OpenImage? backing)
    {
        if (backing?.TopLayer.Path is { } path)
        {
            for (var depth = 1; depth < image.Layers.Count; depth++)
            {
                var layer = image.Layers[depth];
                if (layer.Path is { } other && layer.Format == backing.TopLayer.Format
                    && new ImagePlace(other, null, "").Identity == new ImagePlace(path, null, "").Identity)
                {
                    return depth;
                }
            }
        }

        return int.MaxValue;
    }

    private async Task ProduceAsync(Func<DiskPart, ValueTask> add, CancellationToken cancellationToken)
    {
        var total = _image.Top.Length;
        _progress.Begin(total);
        ImageMap map = new(_image);
        List<MapEntry> entries = [];
        ExtentList others = new();
        var window = map.WindowLength;
        for (long start = 0; start < total; start += window)
        {
            entries.Clear();
            await map.AppendAsync(start, Math.Min(window, total - start), entries, cancellationToken)
                .ConfigureAwait(false);
            foreach (var entry in entries)
            {
                // Depth 0 and present: the image itself. Depth 0 and not present: nothing below reaches here.
                var isOwn = entry.Depth == 0 && entry.Has(MapFlags.Present);
                if (isOwn || entry.Depth >= _sharedDepth)
                {
                    _progress.Add(entry.Length);
                    continue;
                }

                await AddAsync(entry, others, add, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    private async ValueTask AddAsync(
        MapEntry entry, ExtentList others, Func<DiskPart, ValueTask> add, CancellationToken cancellationToken)
    {
        others.Clear();
        var inside = _backing is null ? 0 : Math.Clamp(_backing.Length - entry.Start, 0, entry.Length);
        if (inside > 0)
        {
            await _backing!.GetBlockStatusAsync(entry.Start, inside, others, cancellationToken).ConfigureAwait(false);
        }

        if (inside < entry.Length)
        {
            others.Append(entry.Start + inside, entry.Length - inside, ExtentFlags.Hole | ExtentFlags.Zero);
        }

        var limit = Math.Max(PartLength, _unit);
        foreach (var other in others)
        {
            if (other.IsZero && entry.Has(MapFlags.Zero))
            {
                _progress.Add(other.Length);
                continue;
            }

            for (var at = other.Offset; at < other.End;)
            {
                var length = (int)Math.Min(other.End - at, limit - (at % limit));
                await add(new DiskPart(at, length, 0)).ConfigureAwait(false);
                at += length;
            }
        }
    }

    private async ValueTask KeepAsync(DiskPart part, Memory<byte> memory, CancellationToken cancellationToken)
    {
        var now = memory[..part.Length];
        var then = memory.Slice(memory.Length / 2, part.Length);
        await _image.Top.ReadAsync(part.Offset, now, cancellationToken).ConfigureAwait(false);
        var inside = _backing is null ? 0 : (int)Math.Clamp(_backing.Length - part.Offset, 0, part.Length);
        then.Span[inside..].Clear();
        if (inside > 0)
        {
            await _backing!.ReadAsync(part.Offset, then[..inside], cancellationToken).ConfigureAwait(false);
        }

        for (var at = 0; at < part.Length;)
        {
            var length = (int)Math.Min(part.Length - at, _unit - ((part.Offset + at) % _unit));
            var piece = now.Slice(at, length);
            if (!piece.Span.SequenceEqual(then.Span.Slice(at, length)))
            {
                await WriteAsync(part.Offset + at, piece, cancellationToken).ConfigureAwait(false);
            }

            at += length;
        }

        _progress.Add(part.Length);
    }

    // A write of zeroes may do nothing where the image reads as zeroes already, because the old backing file ends there
    // or there is none, and then the new one would show. Only a whole cluster of an image that has a backing file is
    // sure to be marked as zero; everything else is written as bytes, which allocates it.
    private ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        var isWhole = offset % _unit == 0 && (data.Length == _unit || offset + data.Length == _image.Top.Length);
        var isMarked = isWhole && _image.Layers.Count > 1 && _image.TopLayer.Header!.Version >= 3;
        return !isMarked || data.Span.ContainsAnyExcept((byte)0)
            ? _image.Top.WriteAsync(offset, data, WriteFlags.None, cancellationToken)
            : _image.Top.WriteZeroesAsync(offset, data.Length, WriteFlags.MayUnmap, cancellationToken);
    }
}
