using System.Buffers.Binary;
using Tidemark.Qcow2.Format;

namespace Tidemark.Qcow2.Metadata;

// The size of the disk and of the L1 table. No request is under way. The orders, and why a crash leaves either the old
// disk or the new one:
//
//   growing    1. a longer L1 table in new clusters, which are counted durably   2. flush   3. the header names it (one
//              sector), still with the old size   4. flush; the old table's clusters are free
//              5. what the new part would show (the rest of the last cluster, a longer backing file) is zeroed, and all
//              is written back   6. the header says the new size: one sector
//   shrinking  1. what is cut off is unmapped and written back: a later growth must not show it again. After a crash
//              here the disk has its old size, and what the caller gave up is gone   2. the header says the new size
internal sealed partial class Qcow2Metadata
{
    /// <summary>Makes the L1 table long enough for a disk.</summary>
    internal async ValueTask GrowL1Async(long diskLength, CancellationToken cancellationToken)
    {
        var needed = _header.L1EntriesFor(diskLength);
        if (needed > Qcow2Limits.MaximumL1Bytes / 8)
        {
            throw Qcow2Exception.NotSupported(
                $"a disk of {diskLength} bytes needs an L1 table of {needed} entries, over the limit of "
                + $"{Qcow2Limits.MaximumL1Bytes / 8}; use larger clusters");
        }

        if (needed > _l1.Length)
        {
            var l1 = new ulong[needed];
            _l1.CopyTo(l1, 0);
            await MoveL1Async(l1, static header => header, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Unmaps everything from an offset on, the L2 tables that only map that included.</summary>
    internal async ValueTask CutAsync(long from, CancellationToken cancellationToken)
    {
        var end = (long)_l1.Length << _layout.CoverageBits;
        var tableStart = (from + (1L << _layout.CoverageBits) - 1) >> _layout.CoverageBits;
        await ZeroAsync(from, Math.Min(end, tableStart << _layout.CoverageBits), ZeroMode.Reset, null,
            cancellationToken).ConfigureAwait(false);
        for (var index = tableStart; index < _l1.Length; index++)
        {
            if (L2Entry.HostOffset(_l1[index]) != 0)
            {
                var start = index << _layout.CoverageBits;
                await ZeroAsync(start, start + (1L << _layout.CoverageBits), ZeroMode.Reset, null, cancellationToken)
                    .ConfigureAwait(false);
                await DropL2Async((int)index, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    /// <summary>Lets the active disk begin with another L1 table: everything is durable, then the table, then the
    /// header, which may change with it in the same sector; then the old table is free.</summary>
    internal async ValueTask MoveL1Async(
        ulong[] l1, Func<Qcow2Header, Qcow2Header> change, CancellationToken cancellationToken)
    {
        await _lock.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            var count = (int)((Math.Max(1, l1.Length * 8L) + ClusterSize - 1) >> _clusterBits);
            var offset = await _refcounts.AllocateContiguousAsync(count, cancellationToken).ConfigureAwait(false);
            await WriteBackLockedAsync(cancellationToken).ConfigureAwait(false);
            var bytes = new byte[(long)count << _clusterBits];
            for (var index = 0; index < l1.Length; index++)
            {
                BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(index * 8), l1[index]);
            }

            await _file.WriteAsync(offset, bytes, cancellationToken).ConfigureAwait(false);
            await _file.FlushAsync(cancellationToken).ConfigureAwait(false);
            var (oldOffset, oldLength) = (_header.L1Offset, _header.L1EntryCount * 8L);
            await WriteHeaderLockedAsync(
                change(_header with { L1Offset = offset, L1EntryCount = l1.Length }), cancellationToken)
                .ConfigureAwait(false);
            lock (_gate)
            {
                _l1 = l1;
            }

            _ranges = _ranges.With(_header, l1);
            _refcounts.Ranges = _ranges;

            for (long done = 0; done < oldLength; done += ClusterSize)
            {
                await _refcounts.DecrementAsync((oldOffset + done) >> _clusterBits, cancellationToken)
                    .ConfigureAwait(false);
            }
        }
        finally
        {
            _lock.Release();
        }
    }

    // An L2 table in which nothing is mapped any more.
    private async ValueTask DropL2Async(int l1Index, CancellationToken cancellationToken)
    {
        await _lock.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            lock (_gate)
            {
                var offset = L2Entry.HostOffset(_l1[l1Index]);
                if (_l2.TryGet(offset, out var table))
                {
                    _l2.Remove(table);
                }

                _l1[l1Index] = 0;
                _l1DirtyFirst = Math.Min(_l1DirtyFirst, l1Index);
                _l1DirtyLast = Math.Max(_l1DirtyLast, l1Index);
                _queued.Add(offset >> _clusterBits, 1);
            }
        }
        finally
        {
            _lock.Release();
        }
    }
}
