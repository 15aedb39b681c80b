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
    private readonly ImageFile _data;
    private readonly RequestEpochs _epochs;
    private readonly L2Layout _layout;
    private readonly int _clusterBits;

    // Changed under both locks, read under either.
    private readonly TableCache _l2;
    private ulong[] _l1;

    // Under the metadata lock.
    private readonly RefcountStore _refcounts;
    private Qcow2Header _header;
    private volatile MetadataRanges _ranges;
    private int _l1DirtyFirst = int.MaxValue;
    private int _l1DirtyLast = -1;

    private Qcow2Metadata(
        Parts parts, ulong[] l1, RefcountStore refcounts, MetadataRanges ranges, int cacheCapacity)
    {
        (_file, _data, _epochs, _header) = (parts.File, parts.Data, parts.Epochs, parts.Header);
        _l1 = l1;
        _refcounts = refcounts;
        _layout = new L2Layout(_header);
        _clusterBits = _header.ClusterBits;
        HasBacking = parts.HasBacking;
        _l2 = new TableCache(_header.ClusterSize, cacheCapacity);
        _ranges = ranges;
        _refcounts.Ranges = _ranges;
    }

    /// <summary>The header as it now stands in the file.</summary>
    internal Qcow2Header Header => Volatile.Read(ref _header);

    /// <summary>Whether what is not allocated may be anything but zeroes. Changed only when no request is under
    /// way.</summary>
    internal bool HasBacking { get; set; }

    internal long ClusterSize => 1L << _clusterBits;

    /// <summary>How L2 entries are laid out.</summary>
    internal L2Layout Layout => _layout;

    /// <summary>Called when clusters have become free: nothing may be remembered by host offset any more.</summary>
    internal Action? ClustersFreed { get; set; }

    internal static async ValueTask<Qcow2Metadata> OpenAsync(
        Parts parts, long cacheBytes, CancellationToken cancellationToken)
    {
        const int MinimumTables = 8, MaximumTables = 65536, RefcountShare = 8;
        var (file, header) = (parts.File, parts.Header);
        var l1 = await ReadL1Async(file, header.L1Offset, header.L1EntryCount, cancellationToken).ConfigureAwait(false);
        var needed = header.L1EntriesFor(header.Length);
        if (l1.Length < needed)
        {
            // Of a snapshot, which may have been taken of a smaller disk; an image's own table is long enough.
            Array.Resize(ref l1, (int)needed);
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
        metadata = new Qcow2Metadata(parts, l1, refcounts, ranges, capacity);
        return metadata;
    }

    /// <summary>Reads an L1 table.</summary>
    internal static ValueTask<ulong[]> ReadL1Async(
        ImageFile file, long offset, int count, CancellationToken cancellationToken) =>
        TableReader.ReadAsync(file, offset, count, cancellationToken);

    /// <summary>What a read of a range finds, for as long a part of it from its start as is uniform.</summary>
    /// <returns>False when the L2 table must be loaded first (<see cref="LoadAsync"/>).</returns>
    internal bool TryMap(long offset, long length, out ClusterMapping mapping)
    {
        lock (_gate)
        {
            var l1Index = (int)(offset >> _layout.CoverageBits);
            length = Math.Min(length, ((l1Index + 1L) << _layout.CoverageBits) - offset);
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

            mapping = MapRun(table.Bytes, offset, length, mustBeOwn: false);
            return true;
        }
    }

    /// <summary>How many bytes from <paramref name="offset"/> on may be overwritten in place, and where they
    /// lie.</summary>
    /// <returns>Zero when the first unit needs an allocation, -1 when the L2 table must be loaded first.</returns>
    internal long MapOverwrite(long offset, long length, out long hostOffset)
    {
        hostOffset = 0;
        lock (_gate)
        {
            var l1Index = (int)(offset >> _layout.CoverageBits);
            var l1 = _l1[l1Index];
            if ((l1 & L2Entry.Copied) == 0 || L2Entry.HostOffset(l1) == 0)
            {
                return 0;
            }

            if (!_l2.TryGet(L2Entry.HostOffset(l1), out var table))
            {
                return -1;
            }

            length = Math.Min(length, ((l1Index + 1L) << _layout.CoverageBits) - offset);
            var mapping = MapRun(table.Bytes, offset, length, mustBeOwn: true);
            if (mapping.Kind != ClusterKind.Data)
            {
                return 0;
            }

            (hostOffset, length) = (mapping.HostOffset, mapping.Length);
        }

        CheckWrite(hostOffset, length);
        return length;
    }

    /// <summary>Loads the L2 table of an offset into the cache.</summary>
    internal async ValueTask LoadAsync(long offset, CancellationToken cancellationToken)
    {
        await _lock.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            var l1 = _l1[(int)(offset >> _layout.CoverageBits)];
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

    /// <summary>Whether at least so many of the file's first clusters are counted as used.</summary>
    /// <exception cref="Qcow2Exception">A refcount block cannot be read.</exception>
    internal async ValueTask<bool> HasCountedAsync(long wanted, long clusters, CancellationToken cancellationToken)
    {
        await _lock.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            return await _refcounts.HasUsedAsync(wanted, clusters, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _lock.Release();
        }
    }

    public void Dispose() => _lock.Dispose();

    // No data goes where a table lies that is found without reading another.
    private void CheckWrite(long hostOffset, long length)
    {
        if (!_layout.HasDataFile)
        {
            _ranges.Check(hostOffset, length, "a write");
        }
    }

    // A run of one kind, within one L2 table; of data, one piece of the file. With mustBeOwn a run of data that may be
    // overwritten in place; when the first unit is not such, Kind says Unallocated.
    private ClusterMapping MapRun(byte[] table, long offset, long length, bool mustBeOwn)
    {
        var index = _layout.IndexOf(offset);
        var inCluster = offset & (ClusterSize - 1);
        var first = _layout.Read(table, index);
        CheckEntry(first, offset);
        var kind = _layout.KindOf(first, (int)(inCluster >> _layout.UnitBits));
        if (mustBeOwn && (kind != ClusterKind.Data || !first.IsCopied))
        {
            return default;
        }

        var end = EndOfUniform(first, inCluster);
        if (kind != ClusterKind.Compressed && end == ClusterSize && inCluster + length > ClusterSize)
        {
            end = ExtendRun(table, index, first, kind, inCluster + length, mustBeOwn);
        }

        var hasHost = _layout.IsPlaced(first, kind);
        if (kind == ClusterKind.Data)
        {
            CheckEnd(first, offset, end);
        }

        return new ClusterMapping(
            kind, Math.Min(length, end - inCluster), hasHost ? first.HostOffset + inCluster : 0, first.Word);
    }

    // Where, counted from the start of the first cluster, the run that fills it ends.
    private long ExtendRun(
        byte[] table, int index, ClusterEntry first, ClusterKind kind, long wanted, bool mustBeOwn)
    {
        var ignored = mustBeOwn ? 0 : L2Entry.Copied;
        var placed = _layout.IsPlaced(first, kind);
        var count = 1;
        var limit = (int)Math.Min((wanted + ClusterSize - 1) >> _clusterBits, _layout.TableEntries - index);
        while (count < limit)
        {
            var entry = _layout.Read(table, index + count);
            if (_layout.KindOf(entry, 0) != kind)
            {
                break;
            }

            if (placed)
            {
                var following = first.Word + ((ulong)count << _clusterBits);
                if ((entry.Word | ignored) != (following | ignored))
                {
                    break;
                }
            }
            else if (_layout.IsPlaced(entry, kind))
            {
                break;
            }

            if (kind != ClusterKind.Data)
            {
                CheckEntry(entry, -1);
            }

            var end = EndOfUniform(entry, 0);
            count++;
            if (end != ClusterSize)
            {
                return ((long)(count - 1) << _clusterBits) + end;
            }
        }

        return (long)count << _clusterBits;
    }

    private long EndOfUniform(ClusterEntry entry, long inCluster)
    {
        var unit = (int)(inCluster >> _layout.UnitBits);
        return (long)(unit + _layout.UniformUnits(entry, unit)) << _layout.UnitBits;
    }

    // An entry that names no cluster of the file is damage; to read zeroes there would be to misread the disk.
    private void CheckEntry(ClusterEntry entry, long guestOffset)
    {
        var why = _layout.ProblemOf(entry);
        if (why is null && entry.IsCompressed)
        {
            why = L2Entry.CompressedRange(entry.Word, _clusterBits).Offset >= _file.EndOfClusters
                ? "names a place past the end of the file" : null;
        }
        else if (why is null && _layout.HasHost(entry))
        {
            why = _layout.HasDataFile && guestOffset >= 0 && entry.HostOffset != (guestOffset & -ClusterSize)
                ? "names another place of the data file than its own"
                : entry.HostOffset + 1 > _data.EndOfClusters ? "names a place past the end of the file" : null;
        }

        if (why is not null)
        {
            throw Damaged(entry, guestOffset, why);
        }
    }

    private void CheckEnd(ClusterEntry first, long guestOffset, long length)
    {
        if (first.HostOffset + length > _data.EndOfClusters)
        {
            throw Damaged(first, guestOffset, "begins a run that ends past the end of the file");
        }
    }

    private Qcow2Exception Damaged(ClusterEntry entry, long guestOffset, string why) => Qcow2Exception.Corrupt(
        $"the L2 entry 0x{entry.Word:x16} of guest offset 0x{guestOffset:x} {why} (which ends at "
        + $"0x{_data.EndOfClusters:x}); check the image");

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

    /// <summary>What the mapping works on.</summary>
    /// <param name="File">The image.</param>
    /// <param name="Data">Where guest data lies: the image, or its external data file.</param>
    /// <param name="Epochs">Who may still use an old mapping.</param>
    /// <param name="Header">What the image says of itself.</param>
    /// <param name="HasBacking">Whether what is not allocated may be anything but zeroes.</param>
    internal readonly record struct Parts(
        ImageFile File, ImageFile Data, RequestEpochs Epochs, Qcow2Header Header, bool HasBacking);
}
