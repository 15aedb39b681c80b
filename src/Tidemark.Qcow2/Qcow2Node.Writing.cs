using System.Buffers;
using System.Runtime.CompilerServices;
using Tidemark.Blocks.Nodes;
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

            pending = _file.WriteAsync(hostOffset, source, cancellationToken);
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
        var size = (long)ClusterSize;

        // The last cluster of the disk is whole when the range reaches the disk's end.
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
                $"zeroes from {offset} to {end} of node '{Name}' would have to be written out: clusters have "
                + $"{size} bytes");
        }

        await WriteZeroBytesAsync(offset, bodyStart - offset, cancellationToken).ConfigureAwait(false);
        if (bodyEnd > bodyStart)
        {
            await ZeroClustersAsync(bodyStart, bodyEnd, (flags & WriteFlags.MayUnmap) == 0, cancellationToken)
                .ConfigureAwait(false);
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
        var end = offset + length == Length ? Length : (offset + length) & -size;
        var revealsBacking = Header.Version < 3 && (BackingFile is not null || Backing is not null);
        return end <= start || revealsBacking ? default : ZeroClustersAsync(start, end, keep: false, cancellationToken);
    }

    private async ValueTask ZeroClustersAsync(long start, long end, bool keep, CancellationToken cancellationToken)
    {
        var first = start >> _clusterBits;
        var last = (end - 1) >> _clusterBits;
        var held = await _locks.AcquireAsync(first, last, cancellationToken).ConfigureAwait(false);
        try
        {
            await _metadata.ZeroAsync(first, last - first + 1, keep, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _locks.Release(held);
        }
    }

    // Parts of clusters, or of an image that has no zero clusters.
    private async ValueTask WriteZeroBytesAsync(long offset, long length, CancellationToken cancellationToken)
    {
        while (length > 0)
        {
            var count = (int)Math.Min(length, Math.Min(s_zeroes.Length, ClusterSize - (offset & (ClusterSize - 1))));
            if (!IsKnownZero(offset, count))
            {
                await WritePiecesAsync(offset, s_zeroes.AsMemory(0, count), cancellationToken).ConfigureAwait(false);
            }

            offset += count;
            length -= count;
        }
    }

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
                    await _file.WriteAsync(hostOffset, source[..written], cancellationToken).ConfigureAwait(false);
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

            var run = await _metadata.AllocateAsync(first, last - first + 1, cancellationToken).ConfigureAwait(false);
            var runEnd = (run.GuestCluster + run.Count) << _clusterBits;
            var count = (int)Math.Min(source.Length, runEnd - offset);
            try
            {
                await WriteRunAsync(run, offset, source[..count], cancellationToken).ConfigureAwait(false);
                await _metadata.LinkAsync(run).ConfigureAwait(false);
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

    // The data, and before and behind it what the first and last cluster read as until now.
    private async ValueTask WriteRunAsync(
        ClusterRun run, long offset, ReadOnlyMemory<byte> source, CancellationToken cancellationToken)
    {
        var runStart = run.GuestCluster << _clusterBits;
        var head = (int)(offset - runStart);
        var tail = (int)(runStart + ((long)run.Count << _clusterBits) - offset - source.Length);
        var tailOffset = offset + source.Length;
        var isZeroAround = run.IsFresh && IsKnownZero(runStart, head)
            && IsKnownZero(tailOffset, Math.Min(tail, Length - tailOffset));
        if (isZeroAround || head + tail == 0)
        {
            await _file.WriteAsync(run.HostOffset + head, source, cancellationToken).ConfigureAwait(false);
            return;
        }

        if (head + source.Length + tail <= Math.Max(MergedWriteLimit, ClusterSize))
        {
            await WriteMergedAsync(run, runStart, head, source, tail, cancellationToken).ConfigureAwait(false);
            return;
        }

        await WriteOldAsync(runStart, head, run.HostOffset, cancellationToken).ConfigureAwait(false);
        await _file.WriteAsync(run.HostOffset + head, source, cancellationToken).ConfigureAwait(false);
        await WriteOldAsync(tailOffset, tail, run.HostOffset + head + source.Length, cancellationToken)
            .ConfigureAwait(false);
    }

    private async ValueTask WriteMergedAsync(
        ClusterRun run, long runStart, int head, ReadOnlyMemory<byte> source, int tail,
        CancellationToken cancellationToken)
    {
        var length = head + source.Length + tail;
        var buffer = ArrayPool<byte>.Shared.Rent(length);
        try
        {
            await ReadOldAsync(runStart, buffer.AsMemory(0, head), cancellationToken).ConfigureAwait(false);
            source.CopyTo(buffer.AsMemory(head));
            await ReadOldAsync(
                runStart + head + source.Length, buffer.AsMemory(head + source.Length, tail), cancellationToken)
                .ConfigureAwait(false);
            await _file.WriteAsync(run.HostOffset, buffer.AsMemory(0, length), cancellationToken).ConfigureAwait(false);
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
            await _file.WriteAsync(hostOffset, buffer.AsMemory(0, length), cancellationToken).ConfigureAwait(false);
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
