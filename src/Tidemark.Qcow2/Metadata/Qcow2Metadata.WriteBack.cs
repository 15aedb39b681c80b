using System.Buffers;
using System.Buffers.Binary;
using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Format;

namespace Tidemark.Qcow2.Metadata;

// Bringing the metadata to the file. The order, and why a crash after any prefix of it leaves at most leaks:
//
//   1. refcount blocks            say too much at worst: what they count is not referred to yet
//   2. flush                      data and counts are durable before anything points at them
//   3. refcount table, flush      only if it changed: a block is durable before the table names it
//   4. L2 tables                  point at data and counts that are durable
//   5. flush, L1 table            only if it changed: an L2 table is durable before the L1 table names it
//   6. flush                      now the old mapping is gone for good
//   7. counts of freed clusters go down in memory, once no request can still use the old mapping; their clusters may be
//      handed out again and are punched out of the file. The lower counts are written by a later step 1: until then
//      they are leaks on disk.
//
// With an external data file the flush of step 2 flushes that file too: data is durable before a table names it.
//
// With lazy refcounts steps 1 and 3 wait for the close. Before the first mapping is written that the counts on disk may
// not know of, the header's dirty bit is set, durably; it is cleared after the close has written every count. Whoever
// opens an image with that bit believes no count: he counts anew what the tables refer to (Qcow2Check, repair). Nothing
// else relies on the counts on disk: a freed cluster is used again only after step 6, as always.
//
// A table stays dirty until the flush after its write has succeeded, so that a failed flush is made good by the next.
internal sealed partial class Qcow2Metadata
{
    // Freed since the last write-back: the mapping that named them may still be the one on disk.
    private readonly FreeList _queued = new();

    // No longer named on disk, but a request that began before may still use them.
    private readonly FreeList _waiting = new();

    /// <summary>Makes everything durable: data written before the call, and the mapping to it.</summary>
    internal async ValueTask WriteBackAsync(CancellationToken cancellationToken)
    {
        await _lock.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            await WriteBackLockedAsync(cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _lock.Release();
        }
    }

    /// <summary>Sets aside clusters for a table, one after the other.</summary>
    internal async ValueTask<long> AllocateTableAsync(long length, CancellationToken cancellationToken)
    {
        await _lock.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            var count = checked((int)((length + ClusterSize - 1) >> _clusterBits));
            return await _refcounts.AllocateContiguousAsync(count, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _lock.Release();
        }
    }

    /// <summary>Frees clusters that nothing on disk refers to (any more), at once.</summary>
    internal async ValueTask FreeUnlinkedAsync(long hostOffset, int count)
    {
        await _lock.WaitAsync(CancellationToken.None).ConfigureAwait(false);
        try
        {
            for (var step = 0; step < count; step++)
            {
                await _refcounts.DecrementAsync((hostOffset >> _clusterBits) + step, CancellationToken.None)
                    .ConfigureAwait(false);
            }
        }
        finally
        {
            _lock.Release();
        }
    }

    /// <summary>Rewrites the header, durably; what it names is durable already.</summary>
    internal async ValueTask UpdateHeaderAsync(Func<Qcow2Header, Qcow2Header> change,
        CancellationToken cancellationToken)
    {
        await _lock.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            await WriteHeaderLockedAsync(change(_header), cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _lock.Release();
        }
    }

    /// <summary>Everything durable, freed clusters given back, the file cut behind its last cluster. No request is
    /// under way.</summary>
    internal async ValueTask CloseAsync(CancellationToken cancellationToken)
    {
        await _lock.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            await WriteBackLockedAsync(cancellationToken).ConfigureAwait(false);
            await ReclaimAsync(cancellationToken).ConfigureAwait(false);
            if (_refcounts.IsDirty)
            {
                await WriteCountsAsync(cancellationToken).ConfigureAwait(false);
            }

            if (_header.IsDirty)
            {
                var clean = _header.IncompatibleFeatures & ~FeatureBits.Dirty;
                await WriteHeaderLockedAsync(_header with { IncompatibleFeatures = clean }, cancellationToken)
                    .ConfigureAwait(false);
            }

            if (_refcounts.EndOfUse < _file.Length)
            {
                await _file.Node.ResizeAsync(_refcounts.EndOfUse, cancellationToken).ConfigureAwait(false);
            }
        }
        finally
        {
            _lock.Release();
        }
    }

    private async ValueTask WriteBackLockedAsync(CancellationToken cancellationToken)
    {
        bool l2Dirty;
        lock (_gate)
        {
            l2Dirty = _l2.HasDirty || _l1DirtyLast >= 0;
        }

        if (_layout.HasDataFile)
        {
            await _data.FlushAsync(cancellationToken).ConfigureAwait(false);
        }

        if (!_header.HasLazyRefcounts)
        {
            await WriteCountsAsync(cancellationToken).ConfigureAwait(false);
        }
        else if (_refcounts.IsDirty && !_header.IsDirty)
        {
            // Its flush is the one of step 2.
            var dirty = _header.IncompatibleFeatures | FeatureBits.Dirty;
            await WriteHeaderLockedAsync(_header with { IncompatibleFeatures = dirty }, cancellationToken)
                .ConfigureAwait(false);
        }
        else
        {
            await _file.FlushAsync(cancellationToken).ConfigureAwait(false);
        }

        if (l2Dirty)
        {
            await WriteMappingAsync(cancellationToken).ConfigureAwait(false);
        }

        await ReclaimAsync(cancellationToken).ConfigureAwait(false);
    }

    // Steps 1 to 3.
    private async ValueTask WriteCountsAsync(CancellationToken cancellationToken)
    {
        await _refcounts.WriteBlocksAsync(cancellationToken).ConfigureAwait(false);
        await _file.FlushAsync(cancellationToken).ConfigureAwait(false);
        _refcounts.MarkBlocksDurable();
        if (_refcounts.IsTableDirty)
        {
            await _refcounts.WriteTableAsync(cancellationToken).ConfigureAwait(false);
            await _file.FlushAsync(cancellationToken).ConfigureAwait(false);
            _refcounts.MarkTableDurable();
        }
    }

    private async ValueTask WriteMappingAsync(CancellationToken cancellationToken)
    {
        // Only changed under the metadata lock, which is held: readers below the gate do not mind the writing.
        foreach (var table in _l2.Dirty)
        {
            await _file.WriteAsync(table.Offset, table.Bytes, cancellationToken).ConfigureAwait(false);
        }

        if (_l1DirtyLast >= 0)
        {
            await _file.FlushAsync(cancellationToken).ConfigureAwait(false);
            await WriteL1Async(cancellationToken).ConfigureAwait(false);
        }

        await _file.FlushAsync(cancellationToken).ConfigureAwait(false);
        lock (_gate)
        {
            _l2.MarkAllClean();
            _l1DirtyFirst = int.MaxValue;
            _l1DirtyLast = -1;
        }
    }

    private async ValueTask WriteL1Async(CancellationToken cancellationToken)
    {
        var length = (_l1DirtyLast - _l1DirtyFirst + 1) * 8;
        var buffer = ArrayPool<byte>.Shared.Rent(length);
        try
        {
            for (var index = _l1DirtyFirst; index <= _l1DirtyLast; index++)
            {
                BinaryPrimitives.WriteUInt64BigEndian(buffer.AsSpan((index - _l1DirtyFirst) * 8), _l1[index]);
            }

            await _file.WriteAsync(_header.L1Offset + (_l1DirtyFirst * 8L), buffer.AsMemory(0, length),
                cancellationToken)
                .ConfigureAwait(false);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    // Step 7. The mapping on disk is the one in memory: nothing on disk names the queued clusters.
    private async ValueTask ReclaimAsync(CancellationToken cancellationToken)
    {
        if (_waiting.RunCount > 0 && _epochs.IsPreviousEmpty)
        {
            await LowerCountsAsync(cancellationToken).ConfigureAwait(false);
        }

        if (_waiting.RunCount == 0 && _queued.RunCount > 0 && _epochs.TryAdvance())
        {
            foreach (var (cluster, count) in _queued.Runs)
            {
                _waiting.Add(cluster, count);
            }

            _queued.Clear();
            if (_epochs.IsPreviousEmpty)
            {
                await LowerCountsAsync(cancellationToken).ConfigureAwait(false);
            }
        }
    }

    private async ValueTask LowerCountsAsync(CancellationToken cancellationToken)
    {
        ClustersFreed?.Invoke();
        FreeList punched = new();
        try
        {
            foreach (var (cluster, count) in _waiting.Runs)
            {
                for (var step = 0; step < count; step++)
                {
                    if (_ranges.Overlaps((cluster + step) << _clusterBits, ClusterSize))
                    {
                        // A damaged entry named a table as data: the table stays.
                        continue;
                    }

                    if (await _refcounts.DecrementAsync(cluster + step, cancellationToken).ConfigureAwait(false))
                    {
                        punched.Add(cluster + step, 1);
                    }
                }
            }
        }
        finally
        {
            // After a failure part of the list is done: to leak the rest is safe, to lower a count twice is not.
            _waiting.Clear();
        }

        foreach (var (cluster, count) in punched.Runs)
        {
            var offset = cluster << _clusterBits;
            var length = Math.Min((long)count << _clusterBits, _file.Length - offset);
            if (length > 0)
            {
                await PunchAsync(offset, length, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    // A hint: the clusters are free whether the file gives their space back or not.
    private async ValueTask PunchAsync(long offset, long length, CancellationToken cancellationToken)
    {
        try
        {
            await _file.Node.DiscardAsync(offset, length, cancellationToken).ConfigureAwait(false);
        }
        catch (BlockException)
        {
            // The space stays with the file.
        }
    }

    private ValueTask MoveRefcountTableAsync(long offset, int clusters, CancellationToken cancellationToken) =>
        WriteHeaderLockedAsync(
            _header with { RefcountTableOffset = offset, RefcountTableClusters = clusters }, cancellationToken);

    private async ValueTask WriteHeaderLockedAsync(Qcow2Header header, CancellationToken cancellationToken)
    {
        var bytes = Qcow2HeaderWriter.Write(header, out var placed);
        await _file.WriteAsync(0, bytes, cancellationToken).ConfigureAwait(false);
        await _file.FlushAsync(cancellationToken).ConfigureAwait(false);
        Volatile.Write(ref _header, placed);
        _ranges = _ranges.With(placed);
        _refcounts.Ranges = _ranges;
    }
}
