using System.Buffers.Binary;
using Tidemark.Qcow2.Format;

namespace Tidemark.Qcow2.Metadata;

/// <summary>
/// The mapping of guest clusters to host clusters: decides what to do and does no data I/O itself. The L1 table is in
/// memory, L2 tables in a bounded cache.
/// </summary>
/// <remarks>
/// <para>Two locks. <c>_gate</c> guards the L1 table and the L2 cache for the length of a look-up. <c>_lock</c> is the
/// metadata lock: whoever changes a mapping, allocates or writes back holds it, across metadata I/O but never across
/// data I/O; changes of tables are made under both. A look-up that misses the cache loads the table under <c>_lock</c>
/// and is tried again.</para>
/// <para>Life of a write to a cluster that is not there: the caller holds the cluster's range lock; <see
/// cref="AllocateAsync"/> raises refcounts in memory; the caller writes the data; <see cref="LinkAsync"/> points the L2
/// entry at it, in memory; <see cref="WriteBackAsync"/> brings all of it to the file in an order in which a crash
/// leaves at most leaks (docs/qcow2.md, "Write ordering").</para>
/// </remarks>
internal sealed partial class Qcow2Metadata : IDisposable
{
    private readonly SemaphoreSlim _lock = new(1, 1);
    private readonly Lock _gate = new();
    private readonly ImageFile _file;
    private readonly RequestEpochs _epochs;
    private readonly int _clusterBits;
    private readonly int _l2Bits;
    private readonly bool _hasZeroFlag;

    // Changed under both locks, read under either.
    private readonly TableCache _l2;
    private readonly ulong[] _l1;

    // Under the metadata lock.
    private readonly RefcountStore _refcounts;
    private Qcow2Header _header;
    private volatile MetadataRanges _ranges;
    private int _l1DirtyFirst = int.MaxValue;
    private int _l1DirtyLast = -1;

    private Qcow2Metadata(
        ImageFile file,
        RequestEpochs epochs,
        Qcow2Header header,
        ulong[] l1,
        RefcountStore refcounts,
        MetadataRanges ranges,
        int cacheCapacity,
        bool hasBacking)
    {
        _file = file;
        _epochs = epochs;
        _header = header;
        _l1 = l1;
        _refcounts = refcounts;
        _clusterBits = header.ClusterBits;
        _l2Bits = header.ClusterBits - 3;
        _hasZeroFlag = header.Version >= 3;
        HasBacking = hasBacking;
        _l2 = new TableCache(header.ClusterSize, cacheCapacity);
        _ranges = ranges;
        _refcounts.Ranges = _ranges;
    }

    /// <summary>The header as it now stands in the file.</summary>
    internal Qcow2Header Header => Volatile.Read(ref _header);

    /// <summary>Whether what is not allocated may be anything but zeroes. Changed only when no request is under
    /// way.</summary>
    internal bool HasBacking { get; set; }

    internal long ClusterSize => 1L << _clusterBits;

    /// <summary>Called when clusters have become free: nothing may be remembered by host offset any more.</summary>
    internal Action? ClustersFreed { get; set; }

    internal static async ValueTask<Qcow2Metadata> OpenAsync(
        ImageFile file,
        RequestEpochs epochs,
        Qcow2Header header,
        long cacheBytes,
        bool hasBacking,
        CancellationToken cancellationToken)
    {
        const int MinimumTables = 8, MaximumTables = 4096, RefcountShare = 8;
        var l1Bytes = new byte[header.L1EntryCount * 8];
        await file.ReadAsync(header.L1Offset, l1Bytes, cancellationToken).ConfigureAwait(false);
        var l1 = new ulong[header.L1EntryCount];
        for (var index = 0; index < l1.Length; index++)
        {
            l1[index] = BinaryPrimitives.ReadUInt64BigEndian(l1Bytes.AsSpan(index * 8));
        }

        var (snapshots, snapshotLength) = await SnapshotTable.ReadAsync(
            header, file.ReadAsync, false, cancellationToken).ConfigureAwait(false);
        var capacity = (int)Math.Clamp(cacheBytes >> header.ClusterBits, MinimumTables, MaximumTables);
        Qcow2Metadata? metadata = null;
        var refcounts = await RefcountStore.OpenAsync(
            file,
            header,
            Math.Max(MinimumTables, capacity / RefcountShare),
            (offset, clusters, token) => metadata!.MoveRefcountTableAsync(offset, clusters, token),
            cancellationToken).ConfigureAwait(false);
        MetadataRanges ranges = new(header, snapshots, snapshotLength, l1, refcounts);
        metadata = new Qcow2Metadata(file, epochs, header, l1, refcounts, ranges, capacity, hasBacking);
        return metadata;
    }

    /// <summary>What a read of a range finds, for as long a part of it from its start as is uniform.</summary>
    /// <returns>False when the L2 table must be loaded first (<see cref="LoadAsync"/>).</returns>
    internal bool TryMap(long offset, long length, out ClusterMapping mapping)
    {
        lock (_gate)
        {
            var l1Index = (int)(offset >> (_clusterBits + _l2Bits));
            length = Math.Min(length, ((l1Index + 1L) << (_clusterBits + _l2Bits)) - offset);
            var l2Offset = L2Entry.HostOffset(_l1[l1Index]);
            if (l2Offset == 0)
            {
                mapping = new ClusterMapping(ClusterKind.Unallocated, length, 0, 0);
                return true;
            }

            if (!_l2.TryGet(l2Offset, out var table))
            {
                mapping = default;
                return false;
            }

            mapping = MapRun(table.Bytes, offset, length);
            return true;
        }
    }

    /// <summary>How many bytes from <paramref name="offset"/> on may be overwritten in place, and where they
    /// lie.</summary>
    /// <returns>Zero when the first cluster needs an allocation, -1 when the L2 table must be loaded first.</returns>
    internal long MapOverwrite(long offset, long length, out long hostOffset)
    {
        hostOffset = 0;
        lock (_gate)
        {
            var l1 = _l1[(int)(offset >> (_clusterBits + _l2Bits))];
            if ((l1 & L2Entry.Copied) == 0 || L2Entry.HostOffset(l1) == 0)
            {
                return 0;
            }

            if (!_l2.TryGet(L2Entry.HostOffset(l1), out var table))
            {
                return -1;
            }

            var index = IndexInL2(offset);
            var inCluster = offset & (ClusterSize - 1);
            var wanted = ClustersOf(inCluster + length, index);
            var host = 0L;
            var count = 0;
            while (count < wanted)
            {
                var entry = ReadEntry(table.Bytes, index + count);
                if ((entry & (L2Entry.Copied | L2Entry.Compressed | L2Entry.Zero)) != L2Entry.Copied
                    || L2Entry.HostOffset(entry) == 0)
                {
                    break;
                }

                if (count == 0)
                {
                    host = L2Entry.HostOffset(entry);
                    CheckEntry(entry, offset, _file.EndOfClusters);
                }
                else if (L2Entry.HostOffset(entry) != host + ((long)count << _clusterBits))
                {
                    break;
                }

                count++;
            }

            if (count == 0)
            {
                return 0;
            }

            hostOffset = host + inCluster;
            length = Math.Min(length, ((long)count << _clusterBits) - inCluster);
        }

        _ranges.Check(hostOffset, length, "a write");
        return length;
    }

    /// <summary>Loads the L2 table of an offset into the cache.</summary>
    internal async ValueTask LoadAsync(long offset, CancellationToken cancellationToken)
    {
        await _lock.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            var l1 = _l1[(int)(offset >> (_clusterBits + _l2Bits))];
            if (L2Entry.HostOffset(l1) != 0)
            {
                await GetL2Async(l1, cancellationToken).ConfigureAwait(false);
            }
        }
        finally
        {
            _lock.Release();
        }
    }

    public void Dispose() => _lock.Dispose();

    private static ulong ReadEntry(byte[] table, int index) =>
        BinaryPrimitives.ReadUInt64BigEndian(table.AsSpan(index * 8));

    private static void WriteEntry(byte[] table, int index, ulong entry) =>
        BinaryPrimitives.WriteUInt64BigEndian(table.AsSpan(index * 8), entry);

    private int IndexInL2(long offset) => (int)(offset >> _clusterBits) & ((1 << _l2Bits) - 1);

    // Clusters that a length from the start of a cluster touches, within one L2 table.
    private int ClustersOf(long length, int index) =>
        (int)Math.Min((length + ClusterSize - 1) >> _clusterBits, (1 << _l2Bits) - index);

    private ClusterMapping MapRun(byte[] table, long offset, long length)
    {
        var index = IndexInL2(offset);
        var inCluster = offset & (ClusterSize - 1);
        var wanted = ClustersOf(inCluster + length, index);
        var fileEnd = _file.EndOfClusters;
        var first = ReadEntry(table, index);
        CheckEntry(first, offset, fileEnd);
        var kind = L2Entry.KindOf(first);
        var host = L2Entry.HostOffset(first);
        var count = 1;
        while (kind != ClusterKind.Compressed && count < wanted)
        {
            var entry = ReadEntry(table, index + count);
            if (L2Entry.KindOf(entry) != kind
                || (kind == ClusterKind.Data && L2Entry.HostOffset(entry) != host + ((long)count << _clusterBits)))
            {
                break;
            }

            CheckEntry(entry, offset, fileEnd);
            count++;
        }

        var hasHost = kind is ClusterKind.Data or ClusterKind.ZeroAllocated;
        return new ClusterMapping(
            kind, Math.Min(length, ((long)count << _clusterBits) - inCluster), hasHost ? host + inCluster : 0, first);
    }

    // An entry that names no cluster of the file is damage; to read zeroes there would be to misread the disk.
    private void CheckEntry(ulong entry, long guestOffset, long fileEnd)
    {
        var (host, length, wrong) = (entry & L2Entry.Compressed) != 0
            ? CheckableRange(entry)
            : (L2Entry.HostOffset(entry), 1, (entry & L2Entry.ReservedMask) != 0
                || ((entry & L2Entry.Zero) != 0 && !_hasZeroFlag)
                || (L2Entry.HostOffset(entry) & (ClusterSize - 1)) != 0);
        if (wrong || (host != 0 && host + length > fileEnd))
        {
            throw Qcow2Exception.Corrupt(
                $"the L2 entry 0x{entry:x16} of guest offset 0x{guestOffset:x} names no cluster of the file "
                + $"(which ends at 0x{fileEnd:x}); check the image");
        }
    }

    private (long Host, int Length, bool Wrong) CheckableRange(ulong entry)
    {
        var (host, _) = L2Entry.CompressedRange(entry, _clusterBits);
        return (host, 1, host == 0 || host >= Qcow2Limits.MaximumHostOffset);
    }

    // The L2 table that an L1 entry names. Under the metadata lock.
    private async ValueTask<CachedTable> GetL2Async(ulong l1Entry, CancellationToken cancellationToken)
    {
        var offset = L2Entry.HostOffset(l1Entry);
        lock (_gate)
        {
            if (_l2.TryGet(offset, out var cached))
            {
                return cached;
            }
        }

        if ((l1Entry & L2Entry.L1ReservedMask) != 0 || (offset & (ClusterSize - 1)) != 0
            || offset >= _file.EndOfClusters)
        {
            throw Qcow2Exception.Corrupt($"the L1 entry 0x{l1Entry:x16} names no cluster of the file; check the image");
        }

        var bytes = await TakeL2BufferAsync(cancellationToken).ConfigureAwait(false);
        await _file.ReadAsync(offset, bytes, cancellationToken).ConfigureAwait(false);
        var table = new CachedTable(offset, bytes);
        lock (_gate)
        {
            _l2.Add(table);
        }

        return table;
    }

    private async ValueTask<byte[]> TakeL2BufferAsync(CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            if (_l2.TakeBuffer() is { } buffer)
            {
                return buffer;
            }
        }

        // All tables are dirty: L2 tables may only be written in order.
        await WriteBackLockedAsync(cancellationToken).ConfigureAwait(false);
        lock (_gate)
        {
            return _l2.TakeBuffer() ?? throw new InvalidOperationException("no L2 table could leave the cache");
        }
    }
}
