using System.Buffers;
using System.Buffers.Binary;
using Tidemark.Qcow2.Format;

namespace Tidemark.Qcow2.Metadata;

/// <summary>
/// The refcounts of an image: one count for each host cluster, in blocks of one cluster, found through the refcount
/// table, which is in memory as a whole.
/// </summary>
/// <remarks>
/// <para>Order: a count goes up before anything refers to the cluster, and down only when what referred to it is
/// durably gone. So a block may be written at any time: it can say too much, which is a leak, never too little. A new
/// block is durable before its entry in the refcount table is written; a new table before the header names it.</para>
/// <para>A new block is put into the first cluster of the range that it counts itself, so no other block is needed to
/// make one. All members are called under the metadata lock.</para>
/// </remarks>
internal sealed partial class RefcountStore
{
    private readonly ImageFile _file;
    private readonly int _clusterBits;
    private readonly RefcountCodec _codec;
    private readonly int _blockBits;
    private readonly TableCache _blocks;
    private readonly Func<long, int, CancellationToken, ValueTask> _updateHeader;
    private ulong[] _table;
    private long _tableOffset;
    private int _dirtyFirst = int.MaxValue;
    private int _dirtyLast = -1;
    private long _freeHint;

    // Where the last compressed bytes end; zero, or inside a cluster that has room behind them.
    private long _packEnd;
    private long _freshFrom;

    private RefcountStore(
        ImageFile file,
        Qcow2Header header,
        ulong[] table,
        int cacheCapacity,
        Func<long, int, CancellationToken, ValueTask> updateHeader)
    {
        _file = file;
        _clusterBits = header.ClusterBits;
        _codec = new RefcountCodec(header.RefcountOrder);
        _blockBits = header.ClusterBits + 3 - header.RefcountOrder;
        _blocks = new TableCache(header.ClusterSize, cacheCapacity);
        _table = table;
        _tableOffset = header.RefcountTableOffset;
        _updateHeader = updateHeader;
        _freshFrom = file.EndOfClusters;
    }

    /// <summary>What no cluster may be handed out from.</summary>
    internal MetadataRanges? Ranges { get; set; }

    /// <summary>Whether something is not durably in the file.</summary>
    internal bool IsDirty => _blocks.HasDirty || IsTableDirty;

    /// <summary>Whether the refcount table itself is to be written.</summary>
    internal bool IsTableDirty => _dirtyLast >= 0;

    /// <summary>The end of what was ever handed out or was there at open: the file can be cut here.</summary>
    internal long EndOfUse => _freshFrom;

    /// <summary>Where the refcount blocks lie.</summary>
    internal IEnumerable<long> BlockOffsets => _table.Where(entry => entry != 0).Select(entry => (long)entry);

    /// <summary>The refcount table.</summary>
    internal IReadOnlyList<ulong> TableEntries => _table;

    /// <summary>A block counts 2 to this power clusters.</summary>
    internal int BlockBits => _blockBits;

    private int BlockEntries => 1 << _blockBits;

    internal static async ValueTask<RefcountStore> OpenAsync(
        ImageFile file,
        Qcow2Header header,
        int cacheCapacity,
        Func<long, int, CancellationToken, ValueTask> updateHeader,
        CancellationToken cancellationToken)
    {
        var table = await TableReader.ReadAsync(
            file, header.RefcountTableOffset, (int)(((long)header.RefcountTableClusters << header.ClusterBits) / 8),
            cancellationToken).ConfigureAwait(false);
        return new RefcountStore(file, header, table, cacheCapacity, updateHeader);
    }

    /// <summary>Whether the table names a block of that index, in the file.</summary>
    internal bool IsBlockUsable(long blockIndex) => HasBlock(blockIndex)
        && _table[blockIndex] < (ulong)_file.EndOfClusters
        && (_table[blockIndex] & ((1UL << _clusterBits) - 1)) == 0;

    /// <summary>A block that <see cref="IsBlockUsable"/>.</summary>
    internal ValueTask<CachedTable> ReadBlockAsync(long blockIndex, CancellationToken cancellationToken) =>
        GetBlockAsync((int)blockIndex, cancellationToken);

    /// <summary>The count of a cluster of a block.</summary>
    internal ulong CountIn(CachedTable block, long cluster) =>
        _codec.Get(block.Bytes, (int)(cluster & (BlockEntries - 1)));

    /// <summary>Sets the count of a cluster of a block; false when it is too large.</summary>
    internal bool TrySetIn(CachedTable block, long cluster, ulong count)
    {
        if (count > _codec.Maximum)
        {
            return false;
        }

        _codec.Set(block.Bytes, (int)(cluster & (BlockEntries - 1)), count);
        _blocks.MarkDirty(block);
        return true;
    }

    /// <summary>Whether at least so many of the file's first clusters are in use. Gives up, with no, after
    /// <see cref="Qcow2Limits.MaximumCountedBytes"/> of blocks.</summary>
    internal async ValueTask<bool> HasUsedAsync(long wanted, long clusters, CancellationToken cancellationToken)
    {
        var blocks = Math.Min(
            Math.Min(_table.Length, ((clusters - 1) >> _blockBits) + 1),
            Qcow2Limits.MaximumCountedBytes >> _clusterBits);
        long used = 0;
        for (var index = 0; index < blocks && used < wanted; index++)
        {
            if (HasBlock(index))
            {
                var block = await GetBlockAsync(index, cancellationToken).ConfigureAwait(false);
                var count = (int)Math.Min(BlockEntries, clusters - ((long)index << _blockBits));
                used += _codec.CountUsed(block.Bytes, count);
            }
        }

        return used >= wanted;
    }

    /// <summary>Counts one cluster down. A count of zero stays zero.</summary>
    /// <returns>Whether the cluster is free now.</returns>
    internal async ValueTask<bool> DecrementAsync(long cluster, CancellationToken cancellationToken)
    {
        var blockIndex = cluster >> _blockBits;
        if (!HasBlock(blockIndex))
        {
            return false;
        }

        var block = await GetBlockAsync((int)blockIndex, cancellationToken).ConfigureAwait(false);
        var index = (int)(cluster & (BlockEntries - 1));
        var count = _codec.Get(block.Bytes, index);
        if (count == 0)
        {
            return false;
        }

        _codec.Set(block.Bytes, index, count - 1);
        _blocks.MarkDirty(block);
        if (count == 1)
        {
            _freeHint = Math.Min(_freeHint, cluster);
            if (cluster == _packEnd >> _clusterBits)
            {
                // Nothing may be packed behind what is no longer there.
                _packEnd = 0;
            }
        }

        return count == 1;
    }

    /// <summary>Writes the dirty blocks. They stay dirty until <see cref="MarkBlocksDurable"/>.</summary>
    internal async ValueTask WriteBlocksAsync(CancellationToken cancellationToken)
    {
        foreach (var block in _blocks.Dirty)
        {
            await _file.WriteAsync(block.Offset, block.Bytes, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Notes that the file was flushed after <see cref="WriteBlocksAsync"/>.</summary>
    internal void MarkBlocksDurable() => _blocks.MarkAllClean();

    /// <summary>Writes the changed entries of the refcount table; the blocks they name are durable.</summary>
    internal async ValueTask WriteTableAsync(CancellationToken cancellationToken)
    {
        var count = _dirtyLast - _dirtyFirst + 1;
        var buffer = ArrayPool<byte>.Shared.Rent(count * 8);
        try
        {
            for (var index = 0; index < count; index++)
            {
                BinaryPrimitives.WriteUInt64BigEndian(buffer.AsSpan(index * 8), _table[_dirtyFirst + index]);
            }

            await _file.WriteAsync(_tableOffset + (_dirtyFirst * 8L), buffer.AsMemory(0, count * 8), cancellationToken)
                .ConfigureAwait(false);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    /// <summary>Notes that the file was flushed after <see cref="WriteTableAsync"/>.</summary>
    internal void MarkTableDurable()
    {
        _dirtyFirst = int.MaxValue;
        _dirtyLast = -1;
    }

    private bool HasBlock(long blockIndex) => blockIndex < _table.Length && _table[blockIndex] != 0;

    private void SetTableEntry(int index, ulong value)
    {
        _table[index] = value;
        _dirtyFirst = Math.Min(_dirtyFirst, index);
        _dirtyLast = Math.Max(_dirtyLast, index);
    }

    private async ValueTask<CachedTable> GetBlockAsync(int blockIndex, CancellationToken cancellationToken)
    {
        var offset = (long)_table[blockIndex];
        if (_blocks.TryGet(offset, out var table))
        {
            return table;
        }

        if (offset <= 0 || (offset & ((1L << _clusterBits) - 1)) != 0 || offset >= _file.EndOfClusters)
        {
            throw Qcow2Exception.Corrupt(
                $"entry {blockIndex} of the refcount table is 0x{offset:x}, not the offset of a cluster in the file");
        }

        Ranges?.CheckRefcountBlock(offset);
        var bytes = await TakeBufferAsync(cancellationToken).ConfigureAwait(false);
        await _file.ReadAsync(offset, bytes, cancellationToken).ConfigureAwait(false);
        table = new CachedTable(offset, bytes);
        _blocks.Add(table);
        return table;
    }

    // Blocks may be written at any time (see above); they leave the cache only when they are durable.
    private async ValueTask<byte[]> TakeBufferAsync(CancellationToken cancellationToken)
    {
        if (_blocks.TakeBuffer() is { } buffer)
        {
            return buffer;
        }

        await WriteBlocksAsync(cancellationToken).ConfigureAwait(false);
        await _file.FlushAsync(cancellationToken).ConfigureAwait(false);
        MarkBlocksDurable();
        return _blocks.TakeBuffer() ?? throw new InvalidOperationException("no refcount block could leave the cache");
    }
}
