using Tidemark.Qcow2.Format;

namespace Tidemark.Qcow2.Metadata;

// Changing the mapping: allocate, link, zero. Callers hold the range lock of the guest clusters.
internal sealed partial class Qcow2Metadata
{
    // Above this many freed runs a write-back is made, so that the list stays small.
    private const int MaximumQueuedFrees = 16384;

    /// <summary>
    /// Sets host clusters aside for a guest cluster that cannot be overwritten in place, and for those after it, as
    /// many as lie one after the other. Ends in <see cref="LinkAsync"/> or <see cref="AbandonAsync"/>.
    /// </summary>
    internal async ValueTask<ClusterRun> AllocateAsync(long guestCluster, long wanted,
        CancellationToken cancellationToken)
    {
        await _lock.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            var table = await GetWritableL2Async(guestCluster, cancellationToken).ConfigureAwait(false);
            var index = IndexInL2(guestCluster << _clusterBits);
            var limit = (int)Math.Min(wanted, (1 << _l2Bits) - index);
            var reusable = CountReusable(table.Bytes, index, limit, out var kept);
            if (reusable > 0)
            {
                CheckEntry(ReadEntry(table.Bytes, index), guestCluster << _clusterBits, _file.EndOfClusters);
                CheckEntry(
                    ReadEntry(table.Bytes, index + reusable - 1), guestCluster << _clusterBits, _file.EndOfClusters);
                _ranges.Check(kept, (long)reusable << _clusterBits, "a write");
                return new ClusterRun(guestCluster, reusable, kept, IsFresh: false, IsReused: true);
            }

            var count = 1;
            while (count < limit && NeedsAllocation(ReadEntry(table.Bytes, index + count)))
            {
                count++;
            }

            var (offset, got, isFresh) = await _refcounts.AllocateAsync(count, cancellationToken).ConfigureAwait(false);
            return new ClusterRun(guestCluster, got, offset, isFresh, IsReused: false);
        }
        finally
        {
            _lock.Release();
        }
    }

    /// <summary>Points the L2 entries at clusters whose data has been written; what they named before is freed
    /// later.</summary>
    internal async ValueTask LinkAsync(ClusterRun run)
    {
        await _lock.WaitAsync(CancellationToken.None).ConfigureAwait(false);
        try
        {
            await LimitQueuedFreesAsync().ConfigureAwait(false);
            var table = await GetWritableL2Async(run.GuestCluster, CancellationToken.None).ConfigureAwait(false);
            var index = IndexInL2(run.GuestCluster << _clusterBits);
            lock (_gate)
            {
                for (var step = 0; step < run.Count; step++)
                {
                    var old = ReadEntry(table.Bytes, index + step);
                    var host = run.HostOffset + ((long)step << _clusterBits);
                    WriteEntry(table.Bytes, index + step, (ulong)host | L2Entry.Copied);
                    if (!run.IsReused)
                    {
                        QueueFree(old);
                    }
                }

                _l2.MarkDirty(table);
            }

        }
        finally
        {
            _lock.Release();
        }
    }

    /// <summary>Gives back clusters that nothing refers to, because their data could not be written.</summary>
    internal async ValueTask AbandonAsync(ClusterRun run)
    {
        if (run.IsReused)
        {
            return;
        }

        await FreeUnlinkedAsync(run.HostOffset, run.Count).ConfigureAwait(false);
    }

    /// <summary>Makes whole guest clusters read as zeroes.</summary>
    /// <param name="guestCluster">The first.</param>
    /// <param name="count">How many.</param>
    /// <param name="keep">Whether host clusters stay set aside for them.</param>
    /// <param name="cancellationToken">Stops between L2 tables.</param>
    internal async ValueTask ZeroAsync(long guestCluster, long count, bool keep, CancellationToken cancellationToken)
    {
        while (count > 0)
        {
            var index = IndexInL2(guestCluster << _clusterBits);
            var part = (int)Math.Min(count, (1 << _l2Bits) - index);
            await _lock.WaitAsync(cancellationToken).ConfigureAwait(false);
            try
            {
                if (HasBacking || L2Entry.HostOffset(_l1[(int)(guestCluster >> _l2Bits)]) != 0)
                {
                    await ZeroInL2Async(guestCluster, index, part, keep).ConfigureAwait(false);
                }
            }
            finally
            {
                _lock.Release();
            }

            guestCluster += part;
            count -= part;
        }
    }

    private async ValueTask ZeroInL2Async(long guestCluster, int index, int count, bool keep)
    {
        await LimitQueuedFreesAsync().ConfigureAwait(false);
        var table = await GetWritableL2Async(guestCluster, CancellationToken.None).ConfigureAwait(false);
        lock (_gate)
        {
            for (var step = 0; step < count; step++)
            {
                var old = ReadEntry(table.Bytes, index + step);
                var entry = ZeroedEntry(old, keep);
                if (entry == old)
                {
                    continue;
                }

                WriteEntry(table.Bytes, index + step, entry);
                _l2.MarkDirty(table);
                if (L2Entry.HostOffset(entry) == 0)
                {
                    QueueFree(old);
                }
            }
        }
    }

    private ulong ZeroedEntry(ulong entry, bool keep)
    {
        switch (L2Entry.KindOf(entry))
        {
            case ClusterKind.Unallocated:
                return HasBacking && _hasZeroFlag ? L2Entry.Zero : entry;
            case ClusterKind.ZeroPlain:
                return entry;
            case ClusterKind.Data or ClusterKind.ZeroAllocated when keep && _hasZeroFlag:
                return entry | L2Entry.Zero;
            default:
                return _hasZeroFlag ? L2Entry.Zero : 0;
        }
    }

    private static bool NeedsAllocation(ulong entry) => L2Entry.KindOf(entry) switch
    {
        ClusterKind.Data => (entry & L2Entry.Copied) == 0,
        ClusterKind.ZeroAllocated => (entry & L2Entry.Copied) == 0,
        _ => true,
    };

    // Zero clusters whose host clusters were kept for them and are theirs alone.
    private int CountReusable(byte[] table, int index, int limit, out long hostOffset)
    {
        hostOffset = L2Entry.HostOffset(ReadEntry(table, index));
        var count = 0;
        while (count < limit)
        {
            var entry = ReadEntry(table, index + count);
            if (L2Entry.KindOf(entry) != ClusterKind.ZeroAllocated || (entry & L2Entry.Copied) == 0
                || L2Entry.HostOffset(entry) != hostOffset + ((long)count << _clusterBits))
            {
                break;
            }

            count++;
        }

        return count;
    }

    // The L2 table of a guest cluster, this image's own: made when there is none, copied when a snapshot shares it.
    private async ValueTask<CachedTable> GetWritableL2Async(long guestCluster, CancellationToken cancellationToken)
    {
        var l1Index = (int)(guestCluster >> _l2Bits);
        var l1 = _l1[l1Index];
        if ((l1 & L2Entry.Copied) != 0 && L2Entry.HostOffset(l1) != 0)
        {
            _ranges.CheckL2(L2Entry.HostOffset(l1));
            return await GetL2Async(l1, cancellationToken).ConfigureAwait(false);
        }

        var shared = L2Entry.HostOffset(l1) == 0
            ? null
            : (await GetL2Async(l1, cancellationToken).ConfigureAwait(false)).Bytes.AsSpan().ToArray();
        var (offset, _, _) = await _refcounts.AllocateAsync(1, cancellationToken).ConfigureAwait(false);
        byte[] bytes;
        try
        {
            bytes = await TakeL2BufferAsync(cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            await _refcounts.DecrementAsync(offset >> _clusterBits, CancellationToken.None).ConfigureAwait(false);
            throw;
        }

        var table = new CachedTable(offset, bytes);
        _ranges.AddL2(offset);
        lock (_gate)
        {
            Array.Clear(bytes);
            shared?.CopyTo(bytes, 0);
            _l2.Add(table);
            _l2.MarkDirty(table);
            _l1[l1Index] = (ulong)offset | L2Entry.Copied;
            _l1DirtyFirst = Math.Min(_l1DirtyFirst, l1Index);
            _l1DirtyLast = Math.Max(_l1DirtyLast, l1Index);
            if (shared is not null)
            {
                _queued.Add(L2Entry.HostOffset(l1) >> _clusterBits, 1);
            }
        }

        return table;
    }

    // Under both locks.
    private void QueueFree(ulong entry)
    {
        switch (L2Entry.KindOf(entry))
        {
            case ClusterKind.Data or ClusterKind.ZeroAllocated:
                _queued.Add(L2Entry.HostOffset(entry) >> _clusterBits, 1);
                break;
            case ClusterKind.Compressed:
                var (offset, length) = L2Entry.CompressedRange(entry, _clusterBits);
                var first = offset >> _clusterBits;
                _queued.Add(first, (int)(((offset + length - 1) >> _clusterBits) - first + 1));
                break;
            default:
                break;
        }
    }

    private ValueTask LimitQueuedFreesAsync() =>
        _queued.RunCount > MaximumQueuedFrees ? WriteBackLockedAsync(CancellationToken.None) : default;
}
