using Tidemark.Qcow2.Format;

namespace Tidemark.Qcow2.Metadata;

/// <summary>
/// Where the image's tables lie: header, L1 table, refcount table, snapshot table, the L1 tables of snapshots, L2
/// tables and refcount blocks. No data is ever written there and no cluster of theirs is handed out, whatever a damaged
/// L2 table or refcount says; and no table is written over another.
/// </summary>
/// <remarks>The L2 tables of snapshots are not known: to find them is to read them all. The snapshot's L1 table is, so
/// they are found by a check of the image.</remarks>
internal sealed class MetadataRanges
{
    private readonly (long Offset, long End, string Name)[] _ranges;
    private readonly IReadOnlyList<InternalSnapshot> _snapshots;
    private readonly long _snapshotTableLength;
    private readonly int _clusterBits;
    private readonly ClusterFilter _l2Filter;
    private readonly ClusterFilter _blockFilter;
    private readonly ClusterFilter _snapshotFilter;
    private readonly ulong[] _l1;
    private readonly RefcountStore _refcounts;

    internal MetadataRanges(
        Qcow2Header header, IReadOnlyList<InternalSnapshot> snapshots, long snapshotTableLength, ulong[] l1,
        RefcountStore refcounts)
        : this(header, snapshots, snapshotTableLength, l1, refcounts,
            new ClusterFilter(l1.LongCount(entry => L2Entry.HostOffset(entry) != 0) + 64),
            new ClusterFilter(refcounts.BlockOffsets.LongCount() + 64),
            new ClusterFilter(snapshots.Count))
    {
        foreach (var entry in l1)
        {
            if (L2Entry.HostOffset(entry) is var offset and not 0)
            {
                AddL2(offset);
            }
        }

        foreach (var offset in refcounts.BlockOffsets)
        {
            AddBlock(offset);
        }

        foreach (var snapshot in snapshots)
        {
            for (long at = 0; at < snapshot.L1EntryCount * 8L; at += header.ClusterSize)
            {
                _snapshotFilter.Add((snapshot.L1Offset + at) >> _clusterBits);
            }
        }
    }

    private MetadataRanges(
        Qcow2Header header, IReadOnlyList<InternalSnapshot> snapshots, long snapshotTableLength, ulong[] l1,
        RefcountStore refcounts, ClusterFilter l2Filter, ClusterFilter blockFilter, ClusterFilter snapshotFilter)
    {
        _clusterBits = header.ClusterBits;
        _snapshots = snapshots;
        _snapshotTableLength = snapshotTableLength;
        _l1 = l1;
        _refcounts = refcounts;
        _l2Filter = l2Filter;
        _blockFilter = blockFilter;
        _snapshotFilter = snapshotFilter;
        _ranges =
        [
            (0, header.ClusterSize, "header"),
            (header.L1Offset, header.L1Offset + (header.L1EntryCount * 8L), "L1 table"),
            (header.RefcountTableOffset,
                header.RefcountTableOffset + ((long)header.RefcountTableClusters << header.ClusterBits),
                "refcount table"),
            (header.SnapshotsOffset, header.SnapshotsOffset + snapshotTableLength, "snapshot table"),
        ];
    }

    /// <summary>The same tables under another header.</summary>
    internal MetadataRanges With(Qcow2Header header) =>
        new(header, _snapshots, _snapshotTableLength, _l1, _refcounts, _l2Filter, _blockFilter, _snapshotFilter);

    /// <summary>The same tables under another header and a longer L1 table with the same L2 tables.</summary>
    internal MetadataRanges With(Qcow2Header header, ulong[] l1) =>
        new(header, _snapshots, _snapshotTableLength, l1, _refcounts, _l2Filter, _blockFilter, _snapshotFilter);

    /// <summary>Notes a new L2 table.</summary>
    internal void AddL2(long offset) => _l2Filter.Add(offset >> _clusterBits);

    /// <summary>Notes a new refcount block.</summary>
    internal void AddBlock(long offset) => _blockFilter.Add(offset >> _clusterBits);

    /// <summary>Whether a range overlaps a table.</summary>
    internal bool Overlaps(long offset, long length)
    {
        try
        {
            Check(offset, length, "");
            return false;
        }
        catch (Qcow2Exception)
        {
            return true;
        }
    }

    /// <summary>Refuses to write data to, or to hand out, a range that overlaps a table.</summary>
    internal void Check(long offset, long length, string what)
    {
        CheckFixed(offset, length, what);
        var last = (offset + length - 1) >> _clusterBits;
        for (var cluster = offset >> _clusterBits; cluster <= last; cluster++)
        {
            if (_l2Filter.MayContain(cluster) && IsL2(cluster << _clusterBits))
            {
                throw Overlap(offset, length, what, "an L2 table", cluster << _clusterBits);
            }

            CheckBlock(cluster, offset, length, what);
        }
    }

    /// <summary>Refuses to change an L2 table that is another table too.</summary>
    internal void CheckL2(long offset)
    {
        CheckFixed(offset, 1L << _clusterBits, "an L2 table");
        CheckBlock(offset >> _clusterBits, offset, 1L << _clusterBits, "an L2 table");
    }

    /// <summary>Refuses to change a refcount block that is another table too.</summary>
    internal void CheckRefcountBlock(long offset)
    {
        CheckFixed(offset, 1L << _clusterBits, "a refcount block");
        if (_l2Filter.MayContain(offset >> _clusterBits) && IsL2(offset))
        {
            throw Overlap(offset, 1L << _clusterBits, "a refcount block", "an L2 table", offset);
        }
    }

    private void CheckFixed(long offset, long length, string what)
    {
        foreach (var (start, end, name) in _ranges)
        {
            if (offset < end && start < offset + length)
            {
                throw Overlap(offset, length, what, $"the {name}", start);
            }
        }
    }

    private void CheckBlock(long cluster, long offset, long length, string what)
    {
        var host = cluster << _clusterBits;
        if (_blockFilter.MayContain(cluster) && _refcounts.BlockOffsets.Contains(host))
        {
            throw Overlap(offset, length, what, "a refcount block", host);
        }

        if (_snapshotFilter.MayContain(cluster) && _snapshots.Any(snapshot =>
            host < snapshot.L1Offset + (snapshot.L1EntryCount * 8L) && snapshot.L1Offset < host + (1L << _clusterBits)))
        {
            throw Overlap(offset, length, what, "the L1 table of a snapshot", host);
        }
    }

    private bool IsL2(long offset)
    {
        foreach (var entry in _l1)
        {
            if (L2Entry.HostOffset(entry) == offset)
            {
                return true;
            }
        }

        return false;
    }

    private static Qcow2Exception Overlap(long offset, long length, string what, string table, long at) =>
        Qcow2Exception.Corrupt(
            $"{what} at 0x{offset:x}, {length} bytes, would overwrite {table} at 0x{at:x}; check the image");
}
