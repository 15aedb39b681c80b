using System.Buffers;
using System.Runtime.CompilerServices;
using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Format;
using Tidemark.Qcow2.Metadata;

namespace Tidemark.Qcow2;

// Writes. In place: one look-up, one write of the file, no lock. Otherwise, for one run of clusters at a time:
//   1. hold the range lock of the clusters   2. set host clusters aside   3. write the data, with what the rest of the
//   first and last cluster held before       4. link them
// A failure in 2 or 3 gives the clusters back; the mapping is as it was.
public sealed partial class Qcow2Node
{
    // Up to here data and the rest of its clusters are put together in memory and written at once.
    private const int MergedWriteLimit = 256 * 1024;

    private static readonly byte[] s_zeroes = new byte[64 * 1024];

    /// <inheritdoc/>
    protected override ValueTask WriteCoreAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken)
    {
        if ((flags & WriteFlags.ForceUnitAccess) != 0)
        {
            return WriteThroughAsync(offset, source, cancellationToken);
        }

        var ticket = _epochs.Enter();
        ValueTask pending;
        try
        {
            if (_metadata.MapOverwrite(offset, source.Length, out var hostOffset) < source.Length)
            {
                _epochs.Leave(ticket);
                return WritePiecesAsync(offset, source, cancellationToken);
            }

            pending = _data.WriteAsync(hostOffset, source, cancellationToken);
        }
        catch
        {
            _epochs.Leave(ticket);
            throw;
        }

        if (!pending.IsCompletedSuccessfully)
        {
            return LeaveAfterAsync(pending, ticket);
        }

        _epochs.Leave(ticket);
        return default;
    }

    /// <inheritdoc/>
    protected override async ValueTask WriteZeroesCoreAsync(
        long offset, long length, WriteFlags flags, CancellationToken cancellationToken)
    {
        var end = offset + length;
        var size = 1L << _layout.UnitBits;

        // The last unit of the disk is whole when the range reaches the disk's end.
        var bodyStart = Math.Min(end, (offset + size - 1) & -size);
        var bodyEnd = end == Length ? end : Math.Max(bodyStart, end & -size);
        var onlyBytes = Header.Version < 3 && (BackingFile is not null || Backing is not null);
        if (onlyBytes)
        {
            // Version 2 cannot say that a cluster hides its backing file's bytes.
            (bodyStart, bodyEnd) = (end, end);
        }

        if ((flags & WriteFlags.NoFallback) != 0
            && (onlyBytes || !IsKnownZero(offset, bodyStart - offset) || !IsKnownZero(bodyEnd, end - bodyEnd)))
        {
            throw new Qcow2Exception(
                BlockErrorKind.NotSupported,
                $"zeroes from {offset} to {end} of node '{Name}' would have to be written out: they are stored in "
                + $"units of {size} bytes");
        }

        await WriteZeroBytesAsync(offset, bodyStart - offset, cancellationToken).ConfigureAwait(false);
        if (bodyEnd > bodyStart)
        {
            var mode = (flags & WriteFlags.MayUnmap) == 0 ? ZeroMode.Keep : DiscardMode;
            await ZeroUnitsAsync(bodyStart, bodyEnd, mode, cancellationToken).ConfigureAwait(false);
        }

        await WriteZeroBytesAsync(bodyEnd, end - bodyEnd, cancellationToken).ConfigureAwait(false);
        if ((flags & WriteFlags.ForceUnitAccess) != 0)
        {
            await FlushCoreAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    protected override ValueTask DiscardCoreAsync(long offset, long length, CancellationToken cancellationToken)
    {
        var size = (long)ClusterSize;
        var start = (offset + size - 1) & -size;
        var end = WholeEnd(offset + length);
        var revealsBacking = Header.Version < 3 && (BackingFile is not null || Backing is not null);
        return end <= start || revealsBacking
            ? default
            : ZeroClustersAsync(start, end, DiscardMode, cancellationToken);
    }

    private ZeroMode DiscardMode => _keepsOnDiscard ? ZeroMode.Punch : ZeroMode.Free;

    // Whole units. Of a part of a compressed cluster the subclusters cannot be told apart: bytes are written.
    private async ValueTask ZeroUnitsAsync(long start, long end, ZeroMode mode, CancellationToken cancellationToken)
    {
        var size = (long)ClusterSize;
        if (end == Length)
        {
            end = WholeEnd(end);
        }

        var wholeStart = Math.Min(end, (start + size - 1) & -size);
        var wholeEnd = Math.Max(wholeStart, end & -size);
        if (wholeStart > start)
        {
            await ZeroPartAsync(start, wholeStart, cancellationToken).ConfigureAwait(false);
        }

        if (wholeEnd > wholeStart)
        {
            await ZeroClustersAsync(wholeStart, wholeEnd, mode, cancellationToken).ConfigureAwait(false);
        }

        if (end > wholeEnd)
        {
            await ZeroPartAsync(wholeEnd, end, cancellationToken).ConfigureAwait(false);
        }
    }

    private async ValueTask ZeroPartAsync(long start, long end, CancellationToken cancellationToken)
    {
        ClusterMapping mapping;
        while (!_metadata.TryMap(start, 1, out mapping))
        {
            await _metadata.LoadAsync(start, cancellationToken).ConfigureAwait(false);
        }

        if (mapping.Kind == ClusterKind.Compressed)
        {
            await WriteZeroBytesAsync(start, end - start, cancellationToken).ConfigureAwait(false);
            return;
        }

        await ZeroClustersAsync(start, end, ZeroMode.Keep, cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask ZeroClustersAsync(long start, long end, ZeroMode mode, CancellationToken cancellationToken)
    {
        var held = await _locks.AcquireAsync(start >> _clusterBits, (end - 1) >> _clusterBits, cancellationToken)
            .ConfigureAwait(false);
        try
        {
            if (_layout.HasDataFile)
            {
                await ZeroDataFileAsync(start, end, mode, cancellationToken).ConfigureAwait(false);
            }

            List<(long Offset, long Length)>? kept = mode == ZeroMode.Punch ? [] : null;
            await _metadata.ZeroAsync(start, end, mode, kept, cancellationToken).ConfigureAwait(false);
            foreach (var (offset, length) in kept ?? [])
            {
                // The clusters stay this range's own, and nobody writes them without the range lock.
                await _file.Node.DiscardAsync(offset, length, cancellationToken).ConfigureAwait(false);
            }
        }
        finally
        {
            _locks.Release(held);
        }
    }

    // A place of a data file belongs to one guest cluster for good: whoever writes the cluster again writes the same
    // place, at once. So its space is given back now, while the range lock keeps such a write out, and never later. The
    // old mapping may still be the one on disk: after a crash the range then holds the old bytes or zeroes, each of
    // which it may hold until this request is flushed. A raw data file is the disk by itself, so there zeroes must be.
    private async ValueTask ZeroDataFileAsync(long start, long end, ZeroMode mode, CancellationToken cancellationToken)
    {
        end = Math.Min(end, _data.Length);
        if (end <= start)
        {
            return;
        }

        if (Header.IsDataFileRaw)
        {
            var flags = mode == ZeroMode.Keep ? WriteFlags.None : WriteFlags.MayUnmap;
            await _data.Node.WriteZeroesAsync(start, end - start, flags, cancellationToken).ConfigureAwait(false);
        }
        else if (mode != ZeroMode.Keep)
        {
            await _data.Node.DiscardAsync(start, end - start, cancellationToken).ConfigureAwait(false);
        }
    }

    // Parts of clusters, or of an image that has no zero clusters.
    private async ValueTask WriteZeroBytesAsync(long offset, long length, CancellationToken cancellationToken)
    {
        while (length > 0)
        {
            var count = (int)Math.Min(length, Math.Min(s_zeroes.Length, UnitRest(offset)));
            if (!IsKnownZero(offset, count))
            {
                await WritePiecesAsync(offset, s_zeroes.AsMemory(0, count), cancellationToken).ConfigureAwait(false);
            }

            offset += count;
            length -= count;
        }
    }

    // The end of the last whole cluster of a range; what lies behind the disk's end belongs to it.
    private long WholeEnd(long end) => (end == Length ? end + ClusterSize - 1 : end) & -(long)ClusterSize;

    private long UnitRest(long offset) => (1L << _layout.UnitBits) - (offset & ((1L << _layout.UnitBits) - 1));

    private async ValueTask WriteThroughAsync(long offset, ReadOnlyMemory<byte> source,
        CancellationToken cancellationToken)
    {
        await WritePiecesAsync(offset, source, cancellationToken).ConfigureAwait(false);
        await FlushCoreAsync(cancellationToken).ConfigureAwait(false);
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private async ValueTask WritePiecesAsync(long offset, ReadOnlyMemory<byte> source,
        CancellationToken cancellationToken)
    {
        while (!source.IsEmpty)
        {
            var ticket = _epochs.Enter();
            int written;
            try
            {
                written = (int)_metadata.MapOverwrite(offset, source.Length, out var hostOffset);
                if (written > 0)
                {
                    await _data.WriteAsync(hostOffset, source[..written], cancellationToken).ConfigureAwait(false);
                }
            }
            finally
            {
                _epochs.Leave(ticket);
            }

            if (written < 0)
            {
                await _metadata.LoadAsync(offset, cancellationToken).ConfigureAwait(false);
                continue;
            }

            if (written == 0)
            {
                written = await AllocateAndWriteAsync(offset, source, cancellationToken).ConfigureAwait(false);
            }

            offset += written;
            source = source[written..];
        }
    }

    // Returns how much was written; zero when another request has allocated the cluster meanwhile.
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<int> AllocateAndWriteAsync(
        long offset, ReadOnlyMemory<byte> source, CancellationToken cancellationToken)
    {
        var first = offset >> _clusterBits;
        var last = (offset + source.Length - 1) >> _clusterBits;
        var held = await _locks.AcquireAsync(first, last, cancellationToken).ConfigureAwait(false);
        try
        {
            // Who waited for the lock finds the mapping that the other one made; a table that is not in the cache is
            // loaded by the caller.
            if (_metadata.MapOverwrite(offset, source.Length, out _) != 0)
            {
                return 0;
            }

            var run = await _metadata.AllocateAsync(offset, source.Length, cancellationToken).ConfigureAwait(false);
            var runEnd = Math.Min(run.Limit, (run.GuestCluster + run.Count) << _clusterBits);
            var count = (int)Math.Min(source.Length, runEnd - offset);
            try
            {
                await WriteRunAsync(run, offset, source[..count], cancellationToken).ConfigureAwait(false);
                await _metadata.LinkAsync(run, offset, offset + count).ConfigureAwait(false);
            }
            catch
            {
                await _metadata.AbandonAsync(run).ConfigureAwait(false);
                throw;
            }

            return count;
        }
        finally
        {
            _locks.Release(held);
        }
    }

    // The data, and before and behind it what the first and last unit read as until now.
    private async ValueTask WriteRunAsync(
        ClusterRun run, long offset, ReadOnlyMemory<byte> source, CancellationToken cancellationToken)
    {
        var unit = 1L << run.UnitBits;
        var start = offset & -unit;
        var tailOffset = offset + source.Length;
        var host = run.HostOffset + (start - (run.GuestCluster << _clusterBits));
        var head = (int)(offset - start);
        var tail = (int)(((tailOffset + unit - 1) & -unit) - tailOffset);
        if (_layout.HasDataFile)
        {
            // A data file is as long as the disk.
            tail = (int)Math.Clamp(Length - tailOffset, 0, tail);
        }

        var isZeroAround = run.IsFresh && IsKnownZero(start, head)
            && IsKnownZero(tailOffset, Math.Min(tail, Length - tailOffset));
        if (isZeroAround || head + tail == 0)
        {
            await _data.WriteAsync(host + head, source, cancellationToken).ConfigureAwait(false);
            return;
        }

        if (head + source.Length + tail <= Math.Max(MergedWriteLimit, ClusterSize))
        {
            await WriteMergedAsync(start, host, head, source, tail, cancellationToken).ConfigureAwait(false);
            return;
        }

        await WriteOldAsync(start, head, host, cancellationToken).ConfigureAwait(false);
        await _data.WriteAsync(host + head, source, cancellationToken).ConfigureAwait(false);
        await WriteOldAsync(tailOffset, tail, host + head + source.Length, cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask WriteMergedAsync(
        long start, long host, int head, ReadOnlyMemory<byte> source, int tail, CancellationToken cancellationToken)
    {
        var length = head + source.Length + tail;
        var buffer = ArrayPool<byte>.Shared.Rent(length);
        try
        {
            await ReadOldAsync(start, buffer.AsMemory(0, head), cancellationToken).ConfigureAwait(false);
            source.CopyTo(buffer.AsMemory(head));
            await ReadOldAsync(
                start + head + source.Length, buffer.AsMemory(head + source.Length, tail), cancellationToken)
                .ConfigureAwait(false);
            await _data.WriteAsync(host, buffer.AsMemory(0, length), cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private async ValueTask WriteOldAsync(long offset, int length, long hostOffset, CancellationToken cancellationToken)
    {
        if (length == 0)
        {
            return;
        }

        var buffer = ArrayPool<byte>.Shared.Rent(length);
        try
        {
            await ReadOldAsync(offset, buffer.AsMemory(0, length), cancellationToken).ConfigureAwait(false);
            await _data.WriteAsync(hostOffset, buffer.AsMemory(0, length), cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    // Reads as before the write; what lies past the disk's end in its last cluster is zero.
    private async ValueTask ReadOldAsync(long offset, Memory<byte> target, CancellationToken cancellationToken)
    {
        var inside = (int)Math.Clamp(Length - offset, 0, target.Length);
        target.Span[inside..].Clear();
        await ReadPiecesAsync(offset, target[..inside], cancellationToken).ConfigureAwait(false);
    }
}
