using Tidemark.Qcow2.Format;

namespace Tidemark.Qcow2.Metadata;

// Changing the mapping: allocate, link, zero. Callers hold the range lock of the guest clusters.
internal sealed partial class Qcow2Metadata
{
    // Above this many freed runs a write-back is made, so that the list stays small.
    private const int MaximumQueuedFrees = 16384;

    /// <summary>
    /// Sets host clusters aside for a write whose first unit cannot be overwritten in place, as many as lie one after
    /// the other. Ends in <see cref="LinkAsync"/> or <see cref="AbandonAsync"/>.
    /// </summary>
    internal async ValueTask<ClusterRun> AllocateAsync(long offset, long length, CancellationToken cancellationToken)
    {
        await _lock.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            var guestCluster = offset >> _clusterBits;
            var wanted = ((offset + length - 1) >> _clusterBits) - guestCluster + 1;
            var table = await GetWritableL2Async(guestCluster, cancellationToken).ConfigureAwait(false);
            var index = _layout.IndexOf(offset);
            var limit = (int)Math.Min(wanted, _layout.TableEntries - index);
            if (TryReuse(table.Bytes, index, limit, offset, out var reused))
            {
                CheckEntry(_layout.Read(table.Bytes, index), offset);
                CheckEntry(_layout.Read(table.Bytes, index + reused.Count - 1), -1);
                CheckWrite(reused.HostOffset, (long)reused.Count << _clusterBits);
                return reused;
            }

            var whole = MustBeWritten(_layout.Read(table.Bytes, index));
            var count = 1;
            while (count < limit && _layout.Read(table.Bytes, index + count) is var next
                && NeedsAllocation(next) && MustBeWritten(next) == whole)
            {
                count++;
            }

            var unitBits = whole ? _clusterBits : _layout.UnitBits;
            if (_layout.HasDataFile)
            {
                // Each guest cluster has its own place there, and nothing is counted.
                var place = guestCluster << _clusterBits;
                return new ClusterRun(guestCluster, count, place, place >= _data.Length, IsReused: false, unitBits,
                    long.MaxValue);
            }

            var (host, got, isFresh) = await _refcounts.AllocateAsync(count, cancellationToken).ConfigureAwait(false);
            return new ClusterRun(guestCluster, got, host, isFresh, IsReused: false, unitBits, long.MaxValue);
        }
        finally
        {
            _lock.Release();
        }
    }

    /// <summary>Points the L2 entries at clusters whose data has been written; what they named before is freed
    /// later.</summary>
    /// <param name="run">What was set aside.</param>
    /// <param name="start">Where the data begins, in guest bytes.</param>
    /// <param name="end">Where it ends.</param>
    internal async ValueTask LinkAsync(ClusterRun run, long start, long end)
    {
        await _lock.WaitAsync(CancellationToken.None).ConfigureAwait(false);
        try
        {
            await LimitQueuedFreesAsync().ConfigureAwait(false);
            var table = await GetWritableL2Async(run.GuestCluster, CancellationToken.None).ConfigureAwait(false);
            var index = _layout.IndexOf(run.GuestCluster << _clusterBits);
            lock (_gate)
            {
                for (var step = 0; step < run.Count; step++)
                {
                    var old = _layout.Read(table.Bytes, index + step);
                    var host = run.HostOffset + ((long)step << _clusterBits);
                    var units = LinkedUnits(run, old, step, start, end);
                    _layout.Write(table.Bytes, index + step, new ClusterEntry((ulong)host | L2Entry.Copied, units));
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
        if (run.IsReused || _layout.HasDataFile)
        {
            return;
        }

        await FreeUnlinkedAsync(run.HostOffset, run.Count).ConfigureAwait(false);
    }

    /// <summary>Makes guest bytes read as zeroes, or as the backing file.</summary>
    /// <param name="start">The first byte, that of a unit.</param>
    /// <param name="end">The end of a unit, or of the last cluster of the disk.</param>
    /// <param name="mode">What becomes of the host clusters.</param>
    /// <param name="kept">Takes the places of host clusters that held data, are kept and are this image's alone; null
    /// when nobody asks.</param>
    /// <param name="cancellationToken">Stops between L2 tables.</param>
    internal async ValueTask ZeroAsync(
        long start, long end, ZeroMode mode, List<(long Offset, long Length)>? kept,
        CancellationToken cancellationToken)
    {
        while (start < end)
        {
            var tableEnd = ((start >> _layout.CoverageBits) + 1) << _layout.CoverageBits;
            var part = Math.Min(end, tableEnd);
            await _lock.WaitAsync(cancellationToken).ConfigureAwait(false);
            try
            {
                var isThere = L2Entry.HostOffset(_l1[(int)(start >> _layout.CoverageBits)]) != 0;
                if (isThere || (HasBacking && mode != ZeroMode.Reset))
                {
                    await ZeroInL2Async(start, part, mode, kept).ConfigureAwait(false);
                }
            }
            finally
            {
                _lock.Release();
            }

            start = part;
        }
    }

    private async ValueTask ZeroInL2Async(
        long start, long end, ZeroMode mode, List<(long Offset, long Length)>? kept)
    {
        await LimitQueuedFreesAsync().ConfigureAwait(false);
        var table = await GetWritableL2Async(start >> _clusterBits, CancellationToken.None).ConfigureAwait(false);
        lock (_gate)
        {
            while (start < end)
            {
                var clusterStart = start & -ClusterSize;
                var part = Math.Min(end, clusterStart + ClusterSize);
                var index = _layout.IndexOf(start);
                var old = _layout.Read(table.Bytes, index);
                var entry = part - start == ClusterSize
                    ? ZeroedEntry(old, mode)
                    : ZeroedUnits(old, (int)((start - clusterStart) >> _layout.UnitBits),
                        (int)((part - clusterStart) >> _layout.UnitBits));
                start = part;
                if (entry == old)
                {
                    continue;
                }

                _layout.Write(table.Bytes, index, entry);
                _l2.MarkDirty(table);
                if (!_layout.HasHost(entry))
                {
                    QueueFree(old);
                }
                else if (kept is not null && MayPunch(entry))
                {
                    kept.Add((entry.HostOffset, ClusterSize));
                }
            }
        }
    }

    // Whether a cluster that now reads as zeroes is this guest cluster's alone, and lies where no table does.
    private bool MayPunch(ClusterEntry entry) => entry.IsCopied && !_layout.HasDataFile
        && (!_layout.IsExtended || entry.Units == ClusterEntry.AllZero)
        && entry.HostOffset + ClusterSize <= _file.Length && !_ranges.Overlaps(entry.HostOffset, ClusterSize);

    private ClusterEntry ZeroedEntry(ClusterEntry entry, ZeroMode mode)
    {
        if (mode == ZeroMode.Reset)
        {
            return default;
        }

        var isEmpty = !entry.IsCompressed && !_layout.HasHost(entry);
        if (isEmpty && !HasBacking && entry is { Units: 0 } && (entry.Word & L2Entry.Zero) == 0)
        {
            return entry;
        }

        var keeps = (mode is ZeroMode.Keep or ZeroMode.Punch) && _layout.HasHost(entry);
        if (_layout.IsExtended)
        {
            return new ClusterEntry(keeps ? entry.Word : 0, ClusterEntry.AllZero);
        }

        return !_layout.HasZeroFlag ? default : new ClusterEntry(keeps ? entry.Word | L2Entry.Zero : L2Entry.Zero, 0);
    }

    // Some subclusters; the host cluster stays, for the others. Bytes that are compressed cannot be told apart so: the
    // caller writes them.
    private ClusterEntry ZeroedUnits(ClusterEntry entry, int first, int end)
    {
        var isEmpty = !_layout.HasHost(entry) && entry.Units == 0;
        if (entry.IsCompressed || (isEmpty && !HasBacking))
        {
            return entry;
        }

        ulong mask = UnitMask(first, end);
        return entry with { Units = (entry.Units & ~mask) | (mask << 32) };
    }

    private static uint UnitMask(int first, int end) =>
        (end >= 32 ? uint.MaxValue : (1u << end) - 1) & ~((1u << first) - 1);

    // Which subclusters hold data once the run is linked: those that were written, and those that did before.
    private ulong LinkedUnits(ClusterRun run, ClusterEntry old, int step, long start, long end)
    {
        if (!_layout.IsExtended || end <= start)
        {
            // Nothing was written: set aside in advance.
            return old.Units;
        }

        var clusterStart = (run.GuestCluster + step) << _clusterBits;
        var unitSize = 1L << run.UnitBits;
        var from = Math.Max(0, (start & -unitSize) - clusterStart) >> _layout.UnitBits;
        var to = Math.Min(ClusterSize, ((end + unitSize - 1) & -unitSize) - clusterStart) >> _layout.UnitBits;
        ulong mask = UnitMask((int)from, (int)to);
        var kept = run.UnitBits == _clusterBits ? 0 : old.Units;
        return (kept & ~(mask << 32)) | mask;
    }

    private bool NeedsAllocation(ClusterEntry entry) => !_layout.HasHost(entry) || !entry.IsCopied;

    // Whether what a new host cluster is to hold is in the old one in part, so that the cluster is written as a whole.
    private bool MustBeWritten(ClusterEntry entry) => entry.IsCompressed || _layout.HasHost(entry);

    // Host clusters that were kept for their guest clusters and are theirs alone: zero clusters, preallocated ones, and
    // subclusters that hold nothing yet. The run ends before the first unit that holds data: others may be writing that
    // in place, without a lock, and what this request reads of it to fill a unit would undo what they write.
    private bool TryReuse(byte[] table, int index, int limit, long offset, out ClusterRun run)
    {
        run = default;
        var first = _layout.Read(table, index);
        if (!_layout.HasHost(first) || !first.IsCopied)
        {
            return false;
        }

        var clusterStart = offset & -ClusterSize;
        var unit = (int)((offset - clusterStart) >> _layout.UnitBits);
        var end = EndOfEmpty(first, unit);
        if (end == unit)
        {
            // Data under an L2 table that was shared: it is written anew.
            return false;
        }

        var count = 1;
        while (end == _layout.UnitsPerCluster && count < limit)
        {
            var entry = _layout.Read(table, index + count);
            if (!_layout.HasHost(entry) || !entry.IsCopied
                || entry.HostOffset != first.HostOffset + ((long)count << _clusterBits) || EndOfEmpty(entry, 0) == 0)
            {
                break;
            }

            end = EndOfEmpty(entry, 0);
            count++;
        }

        var limitOffset = clusterStart + ((long)(count - 1) << _clusterBits) + ((long)end << _layout.UnitBits);
        run = new ClusterRun(clusterStart >> _clusterBits, count, first.HostOffset, IsFresh: false, IsReused: true,
            _layout.UnitBits, limitOffset);
        return true;
    }

    // The first unit from one on that holds data.
    private int EndOfEmpty(ClusterEntry entry, int unit)
    {
        while (unit < _layout.UnitsPerCluster && _layout.KindOf(entry, unit) != ClusterKind.Data)
        {
            unit += _layout.UniformUnits(entry, unit);
        }

        return unit;
    }

    // The L2 table of a guest cluster, this image's own: made when there is none, copied when a snapshot shares it.
    private async ValueTask<CachedTable> GetWritableL2Async(long guestCluster, CancellationToken cancellationToken)
    {
        var l1Index = (int)(guestCluster >> _layout.TableBits);
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

    // Under both locks. The places of a data file are not counted.
    private void QueueFree(ClusterEntry entry)
    {
        if (entry.IsCompressed)
        {
            var (offset, length) = L2Entry.CompressedRange(entry.Word, _clusterBits);
            var first = offset >> _clusterBits;
            _queued.Add(first, (int)(((offset + length - 1) >> _clusterBits) - first + 1));
        }
        else if (_layout.HasHost(entry) && !_layout.HasDataFile)
        {
            _queued.Add(entry.HostOffset >> _clusterBits, 1);
        }
    }

    private ValueTask LimitQueuedFreesAsync() =>
        _queued.RunCount > MaximumQueuedFrees ? WriteBackLockedAsync(CancellationToken.None) : default;
}
