// The copy of a whole disk.
//
// One producer asks the source for its block status, window by window, and makes parts: Data, to be read; Zero, to be
// written as zeroes without being read. Workers take parts; each reads into memory of its own, looks for zeroes, and
// writes the rest.
//
// Why no byte that differs from zero can be left out: a range is not read only where the source itself says that it
// reads as zeroes (Extent.IsZero; a hole of which nothing more is known is data), or, where the target has a backing
// file, where the source's top image has not allocated it, which is what the user asked for by naming the same backing
// file. A range that was read is not written only if every byte of it was looked at and is zero, and the target is
// known to read as zeroes there: it was created by this conversion without a backing file, or the user said so.
// Everywhere else zeroes are written.

using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;
using Tidemark.Images.Parts;
using Tidemark.Images.Mapping;
using Tidemark.Qcow2;

namespace Tidemark.Images.Converting;

/// <summary>Copies a disk to another, in parallel.</summary>
internal sealed class DiskCopy
{
    private const int PartLength = 1 << 20;
    private const long Window = 1L << 30;
    private const long MaximumZeroLength = 1L << 30;
    private const int DataKind = 0;
    private const int ZeroKind = 1;
    private const int SkipKind = 2;

    private readonly BlockNode _source;
    private readonly BlockNode _target;
    private readonly DiskCopyOptions _options;
    private readonly DiskProgress _progress;
    private readonly int _align;
    private readonly int _unit;
    private readonly int _partLength;
    private long _produced;

    private DiskCopy(BlockNode source, BlockNode target, DiskCopyOptions options)
    {
        _source = source;
        _target = target;
        _options = options;
        _progress = new DiskProgress(options.Report);
        var cluster = Math.Max(1, target.Limits.ClusterSize);
        _align = options.Compress ? cluster : target.Limits.RequestAlignment;
        _unit = options.Compress
            ? cluster
            : Math.Max(Math.Max(options.SparseLength, options.ZeroUnit), target.Limits.RequestAlignment);
        _partLength = (int)RoundUp(Math.Max(PartLength, cluster), _unit);
    }

    /// <summary>Copies all of the source. The target is not flushed.</summary>
    internal static Task RunAsync(
        BlockNode source, BlockNode target, DiskCopyOptions options, CancellationToken cancellationToken)
    {
        DiskCopy copy = new(source, target, options);
        return PartPipeline.RunAsync(
            options.Workers, copy._partLength, copy.ProduceAsync, copy.CopyAsync, cancellationToken);
    }

    private async Task ProduceAsync(Func<DiskPart, ValueTask> add, CancellationToken cancellationToken)
    {
        _progress.Begin(_source.Length);
        ExtentList extents = new();
        List<MapEntry> entries = [];
        var map = _options.Image is { } image ? new ImageMap(image) : null;
        var window = map?.WindowLength ?? Window;
        for (long start = 0; start < _source.Length; start += window)
        {
            var length = Math.Min(window, _source.Length - start);
            if (map is not null)
            {
                entries.Clear();
                await map.AppendAsync(start, length, entries, cancellationToken).ConfigureAwait(false);
                foreach (var entry in entries)
                {
                    await AddAsync(add, entry.Start, entry.End, KindOf(entry)).ConfigureAwait(false);
                }

                continue;
            }

            extents.Clear();
            await _source.GetBlockStatusAsync(start, length, extents, cancellationToken).ConfigureAwait(false);
            foreach (var extent in extents)
            {
                await AddAsync(add, extent.Offset, extent.End, KindOf(extent.IsZero)).ConfigureAwait(false);
            }
        }
    }

    private int KindOf(bool isZero) => !isZero || _options.SparseLength == 0 ? DataKind
        : _options.TargetIsZero ? SkipKind : ZeroKind;

    // With a backing file below the target, what the source's top image has not allocated is left to that. Depth 0 and
    // zero, but not present: the image below has ended, and whether the target's does too is not known.
    private int KindOf(MapEntry entry) => _options.OnlyTop && entry.Depth > 0
        ? SkipKind
        : KindOf(entry.Has(MapFlags.Zero));

    // What the target cannot take by itself, because it does not begin and end with its units (clusters, where they are
    // compressed), is copied as data together with what lies beside it.
    private async ValueTask AddAsync(Func<DiskPart, ValueTask> add, long start, long end, int kind)
    {
        start = Math.Max(start, _produced);
        if (end <= start)
        {
            return;
        }

        if (kind == DataKind)
        {
            start = Math.Max(_produced, start / _align * _align);
            end = Math.Min(_source.Length, RoundUp(end, _align));
        }
        else if (kind == ZeroKind)
        {
            var innerEnd = end == _source.Length ? end : end / _align * _align;
            var innerStart = Math.Min(innerEnd, RoundUp(start, _align));
            if (innerEnd <= innerStart)
            {
                await AddAsync(add, start, end, DataKind).ConfigureAwait(false);
                return;
            }

            await AddAsync(add, start, innerStart, DataKind).ConfigureAwait(false);
            await AddPartsAsync(add, innerStart, innerEnd, kind, MaximumZeroLength).ConfigureAwait(false);
            await AddAsync(add, innerEnd, end, DataKind).ConfigureAwait(false);
            return;
        }
        else
        {
            _progress.Add(end - start);
            return;
        }

        await AddPartsAsync(add, start, end, kind, _partLength).ConfigureAwait(false);
    }

    // Parts end at multiples of their length, so that two workers do not meet in one cluster.
    private async ValueTask AddPartsAsync(
        Func<DiskPart, ValueTask> add, long start, long end, int kind, long limit)
    {
        while (start < end)
        {
            var length = (int)Math.Min(end - start, limit - (start % limit));
            await add(new DiskPart(start, length, kind)).ConfigureAwait(false);
            start += length;
        }

        _produced = end;
    }

    private async ValueTask CopyAsync(DiskPart part, Memory<byte> memory, CancellationToken cancellationToken)
    {
        if (part.Kind == ZeroKind)
        {
            await _target.WriteZeroesAsync(part.Offset, part.Length, WriteFlags.MayUnmap, cancellationToken)
                .ConfigureAwait(false);
            _progress.Add(part.Length);
            return;
        }

        var data = memory[..part.Length];
        await _source.ReadAsync(part.Offset, data, cancellationToken).ConfigureAwait(false);
        if (_options.SparseLength == 0)
        {
            await WriteAsync(part.Offset, data, cancellationToken).ConfigureAwait(false);
        }
        else
        {
            await WriteSparselyAsync(part.Offset, data, cancellationToken).ConfigureAwait(false);
        }

        _progress.Add(part.Length);
    }

    private async ValueTask WriteSparselyAsync(long offset, Memory<byte> data, CancellationToken cancellationToken)
    {
        while (!data.IsEmpty)
        {
            var length = MeasureRun(offset, data.Span, out var isZero);
            if (!isZero)
            {
                await WriteAsync(offset, data[..length], cancellationToken).ConfigureAwait(false);
            }
            else if (!_options.TargetIsZero)
            {
                await _target.WriteZeroesAsync(offset, length, WriteFlags.MayUnmap, cancellationToken)
                    .ConfigureAwait(false);
            }

            offset += length;
            data = data[length..];
        }
    }

    // How many bytes from the start on are all zero, or have something in each unit; units are aligned to the disk.
    private int MeasureRun(long offset, ReadOnlySpan<byte> data, out bool isZero)
    {
        var length = (int)Math.Min(data.Length, _unit - (offset % _unit));
        isZero = !data[..length].ContainsAnyExcept((byte)0);
        while (length < data.Length)
        {
            var next = Math.Min(_unit, data.Length - length);
            if (data.Slice(length, next).ContainsAnyExcept((byte)0) == isZero)
            {
                break;
            }

            length += next;
        }

        return length;
    }

    private ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        // Only whole clusters are compressed, and the disk's last one.
        var isWhole = data.Length % _align == 0 || offset + data.Length == _target.Length;
        return _options.Compress && isWhole
            ? ((Qcow2Node)_target).WriteCompressedAsync(offset, data, cancellationToken)
            : _target.WriteAsync(offset, data, WriteFlags.None, cancellationToken);
    }

    private static long RoundUp(long value, long unit) => (value + unit - 1) / unit * unit;
}
