using System.Buffers.Binary;
using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Format;

namespace Tidemark.Qcow2.Metadata;

// Finding free clusters, and making room to count more of them.
internal sealed partial class RefcountStore
{
    /// <summary>Sets aside up to <paramref name="wanted"/> clusters that lie one after the other; at least
    /// one.</summary>
    /// <returns>The offset of the first, how many, and whether the file has never held anything there.</returns>
    internal async ValueTask<(long Offset, int Count, bool IsFresh)> AllocateAsync(
        int wanted, CancellationToken cancellationToken)
    {
        while (true)
        {
            var blockIndex = _freeHint >> _blockBits;
            if (!HasBlock(blockIndex))
            {
                await CreateBlocksAsync((int)blockIndex, 1, cancellationToken).ConfigureAwait(false);
            }

            var block = await GetBlockAsync((int)blockIndex, cancellationToken).ConfigureAwait(false);
            var index = _codec.FindZero(block.Bytes, (int)(_freeHint & (BlockEntries - 1)), BlockEntries);
            if (index < 0)
            {
                _freeHint = (blockIndex + 1) << _blockBits;
                continue;
            }

            var count = _codec.CountZeroes(block.Bytes, index, Math.Min(wanted, BlockEntries - index));
            var first = (blockIndex << _blockBits) + index;
            var isFresh = await PrepareAsync(first, count, cancellationToken).ConfigureAwait(false);
            Take(block, index, count);
            _freeHint = first + count;
            return (first << _clusterBits, count, isFresh);
        }
    }

    /// <summary>Sets aside exactly so many clusters that lie one after the other: for tables.</summary>
    internal async ValueTask<long> AllocateContiguousAsync(int count, CancellationToken cancellationToken)
    {
        for (var blockIndex = _freeHint >> _blockBits; count < BlockEntries; blockIndex++)
        {
            if (!HasBlock(blockIndex))
            {
                await CreateBlocksAsync((int)blockIndex, 1, cancellationToken).ConfigureAwait(false);
            }

            var block = await GetBlockAsync((int)blockIndex, cancellationToken).ConfigureAwait(false);
            var index = _codec.FindZero(block.Bytes, 0, BlockEntries);
            while (index >= 0 && index + count <= BlockEntries)
            {
                var free = _codec.CountZeroes(block.Bytes, index, count);
                if (free == count)
                {
                    var first = (blockIndex << _blockBits) + index;
                    await PrepareAsync(first, count, cancellationToken).ConfigureAwait(false);
                    Take(block, index, count);
                    return first << _clusterBits;
                }

                index = _codec.FindZero(block.Bytes, index + free, BlockEntries);
            }
        }

        return await AllocateAtEndAsync(count, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Sets aside a place for compressed bytes, fewer than a cluster: behind the last one if the cluster there
    /// has room or the next one is free, else at the start of a cluster.</summary>
    internal async ValueTask<long> AllocateBytesAsync(int length, long limit, CancellationToken cancellationToken)
    {
        var size = 1L << _clusterBits;
        var room = _packEnd == 0 ? 0 : size - (_packEnd & (size - 1));
        if (room > 0 && !await TryShareAsync(_packEnd >> _clusterBits, cancellationToken).ConfigureAwait(false))
        {
            room = 0;
        }

        var offset = _packEnd;
        if (room < length)
        {
            var shared = room > 0 ? _packEnd >> _clusterBits : -1;
            long next;
            try
            {
                (next, _, _) = await AllocateAsync(1, cancellationToken).ConfigureAwait(false);
            }
            catch
            {
                await UnshareAsync(shared).ConfigureAwait(false);
                throw;
            }

            if (shared < 0 || next != (shared + 1) << _clusterBits)
            {
                await UnshareAsync(shared).ConfigureAwait(false);
                offset = next;
            }
        }

        if (offset + length > limit)
        {
            throw new Qcow2Exception(
                BlockErrorKind.NoSpace, $"compressed bytes would lie at 0x{offset:x}, past the limit of 0x{limit:x}");
        }

        _packEnd = offset + length;
        _packEnd = (_packEnd & (size - 1)) == 0 ? 0 : _packEnd;
        return offset;
    }

    // One more use of a cluster that holds compressed bytes; false when its count can go no higher.
    private async ValueTask<bool> TryShareAsync(long cluster, CancellationToken cancellationToken)
    {
        var block = await GetBlockAsync((int)(cluster >> _blockBits), cancellationToken).ConfigureAwait(false);
        var count = CountIn(block, cluster);
        return count > 0 && count < _codec.Maximum && TrySetIn(block, cluster, count + 1);
    }

    private async ValueTask UnshareAsync(long cluster)
    {
        if (cluster >= 0)
        {
            await DecrementAsync(cluster, CancellationToken.None).ConfigureAwait(false);
        }
    }

    // Past everything that is counted so far: first the blocks that count the new range, then the range.
    private async ValueTask<long> AllocateAtEndAsync(int count, CancellationToken cancellationToken)
    {
        var blockIndex = _table.Length;
        while (blockIndex > 0 && _table[blockIndex - 1] == 0)
        {
            blockIndex--;
        }

        var blocks = (count + BlockEntries - 2) / (BlockEntries - 1);
        var used = await CreateBlocksAsync(blockIndex, blocks, cancellationToken).ConfigureAwait(false);
        var first = ((long)blockIndex << _blockBits) + used;
        await PrepareAsync(first, count, cancellationToken).ConfigureAwait(false);
        for (var taken = 0; taken < count;)
        {
            var cluster = first + taken;
            var block = await GetBlockAsync((int)(cluster >> _blockBits), cancellationToken).ConfigureAwait(false);
            var index = (int)(cluster & (BlockEntries - 1));
            var part = Math.Min(count - taken, BlockEntries - index);
            Take(block, index, part);
            taken += part;
        }

        return first << _clusterBits;
    }

    // Checks the place, grows the file over it, and tells whether it was never used.
    private async ValueTask<bool> PrepareAsync(long firstCluster, int count, CancellationToken cancellationToken)
    {
        var offset = firstCluster << _clusterBits;
        var end = (firstCluster + count) << _clusterBits;
        CheckPlace(offset, end - offset);
        await _file.EnsureLengthAsync(end, cancellationToken).ConfigureAwait(false);
        var isFresh = offset >= _freshFrom;
        _freshFrom = Math.Max(_freshFrom, end);
        return isFresh;
    }

    // Refcounts that do not fit the file lead here: tables in places that are counted as free, or free clusters only
    // far behind the end. The file grows at once at most by what two refcount blocks count.
    private void CheckPlace(long offset, long length)
    {
        Ranges?.Check(offset, length, "an allocation");
        var reach = 2L << (_blockBits + _clusterBits);
        if (offset - _file.EndOfClusters > reach)
        {
            throw Qcow2Exception.Corrupt(
                $"no cluster of the file is free, and the next that can be counted lies at 0x{offset:x}, far past the "
                + $"end of the file at 0x{_file.EndOfClusters:x}; check the image");
        }
    }

    private void Take(CachedTable block, int index, int count)
    {
        for (var step = 0; step < count; step++)
        {
            _codec.Set(block.Bytes, index + step, 1);
        }

        _blocks.MarkDirty(block);
    }

    // Makes blocks for ranges that have none. They lie at the start of the first range, and are counted there.
    // Returns how many clusters of that start are taken.
    private async ValueTask<int> CreateBlocksAsync(int blockIndex, int count, CancellationToken cancellationToken)
    {
        if (blockIndex + count > _table.Length)
        {
            return await GrowTableAsync(blockIndex, count, cancellationToken).ConfigureAwait(false);
        }

        await PlaceBlocksAsync(blockIndex, count, count, cancellationToken).ConfigureAwait(false);
        for (var step = 0; step < count; step++)
        {
            SetTableEntry(blockIndex + step, (ulong)BlockOffset(blockIndex, step));
        }

        return count;
    }

    private long BlockOffset(int firstBlockIndex, int step) =>
        (((long)firstBlockIndex << _blockBits) + step) << _clusterBits;

    // New blocks in the cache, the first of which counts the first `taken` clusters of its range as used.
    private async ValueTask PlaceBlocksAsync(int blockIndex, int count, int taken, CancellationToken cancellationToken)
    {
        if (taken > BlockEntries)
        {
            throw Qcow2Exception.NotSupported(
                $"a table of {taken} clusters of {1 << _clusterBits} bytes cannot be allocated; use larger clusters");
        }

        await PrepareAsync((long)blockIndex << _blockBits, taken, cancellationToken).ConfigureAwait(false);
        for (var step = 0; step < count; step++)
        {
            var bytes = await TakeBufferAsync(cancellationToken).ConfigureAwait(false);
            Array.Clear(bytes);
            var block = new CachedTable(BlockOffset(blockIndex, step), bytes);
            if (_blocks.TryGet(block.Offset, out var abandoned))
            {
                // Left by a growth of the table that failed before anything named it.
                _blocks.Remove(abandoned);
            }

            _blocks.Add(block);
            Ranges?.AddBlock(block.Offset);
            Take(block, 0, step == 0 ? taken : 0);
        }
    }

    // A larger refcount table, with the blocks that count it: [blocks][table] at the start of the new range.
    //   1. blocks written, flushed   2. table written, flushed   3. header written, flushed   4. old table freed
    private async ValueTask<int> GrowTableAsync(int blockIndex, int count, CancellationToken cancellationToken)
    {
        var entriesPerCluster = (1 << _clusterBits) / 8;
        var wanted = Math.Max(blockIndex + count + 1L, _table.Length * 3L / 2);
        var tableClusters = (int)((wanted + entriesPerCluster - 1) / entriesPerCluster);
        var blocks = count;
        while (((long)blocks << _blockBits) < blocks + tableClusters + ((long)count * (BlockEntries - 1))
            || blockIndex + blocks > (long)tableClusters * entriesPerCluster)
        {
            blocks++;
            tableClusters = Math.Max(tableClusters, ((blockIndex + blocks) / entriesPerCluster) + 1);
        }

        if ((long)tableClusters << _clusterBits > Qcow2Limits.MaximumRefcountTableBytes)
        {
            throw new Qcow2Exception(
                BlockErrorKind.NoSpace,
                $"the refcount table would pass its limit of {Qcow2Limits.MaximumRefcountTableBytes} bytes; use "
                + "larger clusters");
        }

        var taken = blocks + tableClusters;
        await PlaceBlocksAsync(blockIndex, blocks, taken, cancellationToken).ConfigureAwait(false);
        var table = new ulong[tableClusters * entriesPerCluster];
        _table.CopyTo(table, 0);
        for (var step = 0; step < blocks; step++)
        {
            table[blockIndex + step] = (ulong)BlockOffset(blockIndex, step);
        }

        var offset = BlockOffset(blockIndex, blocks);
        var bytes = new byte[table.Length * 8];
        for (var index = 0; index < table.Length; index++)
        {
            BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(index * 8), table[index]);
        }

        await WriteBlocksAsync(cancellationToken).ConfigureAwait(false);
        await _file.FlushAsync(cancellationToken).ConfigureAwait(false);
        MarkBlocksDurable();
        await _file.WriteAsync(offset, bytes, cancellationToken).ConfigureAwait(false);
        await _file.FlushAsync(cancellationToken).ConfigureAwait(false);
        await _updateHeader(offset, tableClusters, cancellationToken).ConfigureAwait(false);

        var (oldOffset, oldClusters) = (_tableOffset, (int)(_table.Length * 8L >> _clusterBits));
        (_table, _tableOffset) = (table, offset);
        MarkTableDurable();
        for (var step = 0; step < oldClusters; step++)
        {
            await DecrementAsync((oldOffset >> _clusterBits) + step, cancellationToken).ConfigureAwait(false);
        }

        return taken;
    }
}
