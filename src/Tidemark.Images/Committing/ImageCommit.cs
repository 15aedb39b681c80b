// Why no byte of the overlays can be lost: every range that any image above the base has allocated (the map says at
// which depth) is either read through the top and written to the base, or, where that image says that it is zero,
// written as zeroes. What no image above the base has allocated is answered by the base itself, and stays as it is. The
// base is durable before the top is emptied, so that a crash in between leaves both.

using Tidemark.Blocks.Nodes;
using Tidemark.Images.Parts;
using Tidemark.Images.Mapping;
using Tidemark.Images.Opening;
using Tidemark.Qcow2;

namespace Tidemark.Images.Committing;

/// <summary>Writes what overlays hold into an image below them.</summary>
public sealed class ImageCommit
{
    private const int PartLength = 1 << 20;
    private const long MaximumZeroLength = 1L << 30;
    private const int DataKind = 0;
    private const int ZeroKind = 1;

    private readonly OpenImage _image;
    private readonly BlockNode _base;
    private readonly int _baseDepth;
    private readonly DiskProgress _progress;

    private ImageCommit(OpenImage image, int baseDepth, Action<double>? report)
    {
        _image = image;
        _base = image.Layers[baseDepth].Node;
        _baseDepth = baseDepth;
        _progress = new DiskProgress(report);
    }

    /// <summary>Commits. All is durable when the call completes.</summary>
    /// <param name="name">The top image.</param>
    /// <param name="open">How the chain is opened; writable is seen to here.</param>
    /// <param name="baseName">The image below to commit to; null for the top's own backing file.</param>
    /// <param name="keep">Whether the top keeps what it holds. It is emptied only when it lies directly on the
    /// base.</param>
    /// <param name="report">Told how far it is, 0 to 1.</param>
    /// <param name="cancellationToken">Stops it; the base may then hold part of the changes, the top holds them
    /// all.</param>
    /// <exception cref="BlockException">There is no such image below, or one of them cannot be read or
    /// written.</exception>
    public static async Task RunAsync(
        string name, ImageOpenOptions open, string? baseName, bool keep, Action<double>? report = null,
        CancellationToken cancellationToken = default)
    {
        var depth = await FindBaseAsync(name, open, baseName, cancellationToken).ConfigureAwait(false);
        var image = await ImageOpener.OpenAsync(
            name, open with { Writable = true, WritableDepth = depth }, cancellationToken).ConfigureAwait(false);
        await using var closing = image.ConfigureAwait(false);
        ImageCommit commit = new(image, depth, report);
        await commit.CopyAsync(cancellationToken).ConfigureAwait(false);
        if (!keep && depth == 1)
        {
            await image.TopLayer.Qcow2!.MakeEmptyAsync(isSameBelow: true, cancellationToken).ConfigureAwait(false);
        }
    }

    private static async ValueTask<int> FindBaseAsync(
        string name, ImageOpenOptions open, string? baseName, CancellationToken cancellationToken)
    {
        var image = await ImageOpener.OpenAsync(
            name, open with { Writable = false, HeadersOnly = true }, cancellationToken).ConfigureAwait(false);
        await using var closing = image.ConfigureAwait(false);
        if (image.Layers.Count == 1)
        {
            throw ImageException.Invalid("Image does not have a backing file");
        }

        if (baseName is null)
        {
            return 1;
        }

        for (var depth = 1; depth < image.Layers.Count; depth++)
        {
            var above = image.Layers[depth - 1];
            var layer = image.Layers[depth];
            if (layer.FileName == baseName || above.Header?.BackingFile == baseName
                || (layer.Path is { } path && Path.GetFullPath(path) == Path.GetFullPath(baseName)))
            {
                return depth;
            }
        }

        throw new ImageException(
            BlockErrorKind.NotFound, $"Did not find '{baseName}' in the backing chain of '{name}'");
    }

    private async Task CopyAsync(CancellationToken cancellationToken)
    {
        if (_base.Length < _image.Top.Length)
        {
            if (_base is Qcow2Node qcow2)
            {
                await qcow2.ResizeDiskAsync(_image.Top.Length, Qcow2Preallocation.Off, cancellationToken)
                    .ConfigureAwait(false);
            }
            else
            {
                await _image.Layers[_baseDepth].File.ResizeAsync(_image.Top.Length, cancellationToken)
                    .ConfigureAwait(false);
            }
        }

        var workers = Math.Max(2, Environment.ProcessorCount);
        await PartPipeline.RunAsync(workers, PartLength, ProduceAsync, CopyPartAsync, cancellationToken)
            .ConfigureAwait(false);
        await _base.FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    private async Task ProduceAsync(Func<DiskPart, ValueTask> add, CancellationToken cancellationToken)
    {
        var total = _image.Top.Length;
        _progress.Begin(total);
        ImageMap map = new(_image);
        List<MapEntry> entries = [];
        var window = map.WindowLength;
        for (long start = 0; start < total; start += window)
        {
            entries.Clear();
            await map.AppendAsync(start, Math.Min(window, total - start), entries, cancellationToken)
                .ConfigureAwait(false);
            foreach (var entry in entries)
            {
                // Zero without being present above the base: an image above ends there, and the base must not show.
                if (entry.Depth >= _baseDepth)
                {
                    _progress.Add(entry.Length);
                    continue;
                }

                var isZero = entry.Has(MapFlags.Zero);
                var limit = isZero ? MaximumZeroLength : PartLength;
                for (var at = entry.Start; at < entry.End;)
                {
                    var length = (int)Math.Min(entry.End - at, limit - (at % limit));
                    await add(new DiskPart(at, length, isZero ? ZeroKind : DataKind)).ConfigureAwait(false);
                    at += length;
                }
            }
        }
    }

    private async ValueTask CopyPartAsync(DiskPart part, Memory<byte> memory, CancellationToken cancellationToken)
    {
        if (part.Kind == ZeroKind)
        {
            await _base.WriteZeroesAsync(part.Offset, part.Length, WriteFlags.MayUnmap, cancellationToken)
                .ConfigureAwait(false);
        }
        else
        {
            var data = memory[..part.Length];
            await _image.Top.ReadAsync(part.Offset, data, cancellationToken).ConfigureAwait(false);
            await _base.WriteAsync(part.Offset, data, WriteFlags.None, cancellationToken).ConfigureAwait(false);
        }

        _progress.Add(part.Length);
    }
}
