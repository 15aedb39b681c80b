using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Bitmaps;
using Tidemark.Qcow2.Checking;
using Tidemark.Qcow2.Compression;
using Tidemark.Qcow2.Format;
using Tidemark.Qcow2.Metadata;

namespace Tidemark.Qcow2;

/// <summary>
/// A qcow2 image as a node: driver <c>qcow2</c>, with a <see cref="ChildRole.File"/> child and perhaps a
/// <see cref="ChildRole.Backing"/> child. Source: QEMU's docs/interop/qcow2; what is supported stands in docs/qcow2.md.
/// </summary>
/// <remarks>
/// <para>The mapping (<see cref="Qcow2Metadata"/>) says what to do; this class does it. Data I/O holds no lock: a
/// request enters an epoch, looks its mapping up and reads or writes the file; a cluster that is unmapped meanwhile is
/// not used again before the request has left.</para>
/// <para>Durability: a flush brings data and mapping to the file in an order in which a crash at any point leaves at
/// most leaked clusters, and every flushed byte. Persistent bitmaps are marked in use on disk while the image is open
/// for writing and are stored at disposal: after a crash they are inconsistent, never wrong.</para>
/// </remarks>
public sealed partial class Qcow2Node : BlockNode
{
    private readonly BlockChild _fileChild;
    private readonly BlockChild? _dataChild;
    private readonly ImageFile _file;
    private readonly ImageFile _data;
    private readonly RequestEpochs _epochs;
    private readonly Qcow2Metadata _metadata;
    private readonly ClusterLocks _locks = new();
    private readonly CompressedClusterReader _compressed;
    private readonly BitmapStore _bitmapStore;
    private readonly L2Layout _layout;
    private readonly int _clusterBits;
    private readonly bool _keepsOnDiscard;
    private readonly int? _compressionLevel;
    private readonly bool _isSnapshot;

    // Changed only inside a drained section.
    private volatile bool _isReadOnly;
    private volatile BlockChild? _backingChild;
    private volatile BlockChild[] _children;
    private long _length;
    private bool _disposed;

    private Qcow2Node(string name, Qcow2Metadata.Parts parts, Qcow2Metadata metadata, Qcow2OpenOptions options)
        : base(name)
    {
        var header = metadata.Header;
        _isReadOnly = options.ReadOnly;
        _isSnapshot = options.Snapshot is not null;
        (_file, _data, _epochs, _metadata) = (parts.File, parts.Data, parts.Epochs, metadata);
        _layout = metadata.Layout;
        _clusterBits = header.ClusterBits;
        _length = header.Length;
        _keepsOnDiscard = options.DiscardNoUnref;
        _compressionLevel = options.CompressionLevel;
        _fileChild = new BlockChild(this, ChildRole.File, parts.File.Node, $"node '{name}'");
        if (options.DataFile is { } dataFile)
        {
            _dataChild = new BlockChild(this, ChildRole.DataFile, dataFile, $"node '{name}'");
            _data.Attach(_dataChild);
        }

        _backingChild = options.Backing is { } backing
            ? new BlockChild(this, ChildRole.Backing, backing, $"node '{name}'")
            : null;
        _file.Attach(_fileChild);
        _children = ListChildren();
        Limits = new BlockLimits { PreferredSize = header.ClusterSize, ClusterSize = header.ClusterSize };
        _compressed = new CompressedClusterReader(_file, _clusterBits, header.CompressionType);
        _metadata.ClustersFreed = _compressed.Forget;
        _bitmapStore = new BitmapStore(_metadata, _file, name);
    }

    /// <inheritdoc/>
    public override string Driver => "qcow2";

    /// <inheritdoc/>
    public override long Length => Volatile.Read(ref _length);

    /// <inheritdoc/>
    public override bool IsReadOnly => _isReadOnly;

    /// <inheritdoc/>
    public override BlockLimits Limits { get; }

    /// <inheritdoc/>
    public override IReadOnlyList<BlockChild> Children => _children;

    /// <summary>What the header says, at this moment.</summary>
    public Qcow2Header Header => _metadata.Header;

    /// <summary>Bytes in a cluster.</summary>
    public int ClusterSize => 1 << _clusterBits;

    /// <summary>The backing file's name as it stands in the image, or null.</summary>
    public string? BackingFile => _metadata.Header.BackingFile;

    /// <summary>The backing file's format as it stands in the image, or null.</summary>
    public string? BackingFormat => _metadata.Header.BackingFormat;

    /// <summary>Why the stored bitmaps of an image that is open read-only could not be read; null when they
    /// could.</summary>
    public string? BitmapProblem => _bitmapStore.Problem;

    /// <summary>The stored bitmaps as they stand in the image, those that contradict the format among them.</summary>
    public IReadOnlyList<StoredBitmapInfo> StoredBitmaps => _bitmapStore.Infos;

    private BlockNode? Backing => _backingChild?.Node;

    /// <summary>Opens an image.</summary>
    /// <param name="name">The node's name.</param>
    /// <param name="file">The node that holds the image's bytes. It stays the caller's and must outlive this
    /// node.</param>
    /// <param name="options">How.</param>
    /// <param name="cancellationToken">Stops the opening.</param>
    /// <exception cref="Qcow2Exception">The image is damaged, or needs something that is not supported,
    /// named.</exception>
    public static async ValueTask<Qcow2Node> OpenAsync(
        string name, BlockNode file, Qcow2OpenOptions options, CancellationToken cancellationToken = default)
    {
        var header = await Qcow2Image.ReadHeaderAsync(file, cancellationToken).ConfigureAwait(false);
        CheckOpen(name, header, file, options);
        if (header.IsDirty && !options.ReadOnly)
        {
            header = await RepairAsync(name, file, options, cancellationToken).ConfigureAwait(false);
        }

        header = options.Snapshot is { } snapshot ? AtSnapshot(header, snapshot, file, options) : header;
        var image = new ImageFile(file, header.ClusterBits, options.GrowthStep);
        var parts = new Qcow2Metadata.Parts(
            image,
            options.DataFile is { } data ? new ImageFile(data, header.ClusterBits, 1) : image,
            new RequestEpochs(),
            header,
            HasBacking: options.Backing is not null || header.BackingFile is not null);
        var metadata = await Qcow2Metadata.OpenAsync(parts, options.MetadataCacheLimit, cancellationToken)
            .ConfigureAwait(false);
        var node = new Qcow2Node(name, parts, metadata, options);
        try
        {
            await node._bitmapStore.LoadAsync(node, options.BrokenBitmaps, cancellationToken).ConfigureAwait(false);
            if (!options.ReadOnly)
            {
                await node.PrepareForWritingAsync(cancellationToken).ConfigureAwait(false);
            }
        }
        catch
        {
            node.Release();
            throw;
        }

        return node;
    }

    /// <summary>Gives the image another backing node, or none. Only inside a drained section. What the image has not
    /// allocated then reads as the new node's bytes; its header is not changed.</summary>
    public void SetBacking(BlockNode? backing)
    {
        var old = _backingChild;
        var child = backing is null ? null : new BlockChild(this, ChildRole.Backing, backing, $"node '{Name}'");
        _backingChild = child;
        _children = ListChildren();
        _metadata.HasBacking = backing is not null || BackingFile is not null;
        old?.Dispose();
    }

    /// <inheritdoc/>
    public override bool CanStorePersistentBitmap(string bitmapName, long granularity, out string reason)
    {
        if (IsReadOnly)
        {
            reason = $"Node '{Name}' is read-only, so no persistent bitmap can be stored in it";
            return false;
        }

        return _bitmapStore.CanStore(this, bitmapName, granularity, out reason);
    }

    /// <inheritdoc/>
    public override ValueTask RemoveStoredBitmapAsync(string bitmapName,
        CancellationToken cancellationToken = default) =>
        IsReadOnly
            ? throw new BlockException(
                BlockErrorKind.ReadOnly, $"cannot remove bitmap '{bitmapName}': node '{Name}' is read-only")
            : _bitmapStore.RemoveAsync(bitmapName, cancellationToken);

    /// <summary>Stores the persistent bitmaps, makes everything durable and lets go of the children. No request may be
    /// under way.</summary>
    /// <exception cref="BlockException">Something could not be stored. The image is consistent all the same, and a
    /// bitmap that was not stored stays marked in use on disk: inconsistent when it is opened next.</exception>
    public override async ValueTask DisposeAsync()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        try
        {
            if (!IsReadOnly)
            {
                await CloseAsync().ConfigureAwait(false);
            }
        }
        finally
        {
            Release();
        }
    }

    /// <inheritdoc/>
    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken) =>
        _bitmapStore.HasNew(this)
            ? FlushWithBitmapsAsync(cancellationToken)
            : _metadata.WriteBackAsync(cancellationToken);

    /// <summary>
    /// Appends what this image alone holds, without its backing chain: <see cref="ExtentFlags.Hole"/> where it has not
    /// allocated anything and the backing file answers; zero clusters are allocated here
    /// (<see cref="ExtentFlags.Zero"/>).
    /// </summary>
    public async ValueTask GetOwnStatusAsync(
        long offset, long length, ExtentList extents, CancellationToken cancellationToken = default)
    {
        CheckInside(offset, length);
        var end = offset + length;
        while (offset < end)
        {
            if (!_metadata.TryMap(offset, end - offset, out var mapping))
            {
                await _metadata.LoadAsync(offset, cancellationToken).ConfigureAwait(false);
                continue;
            }

            var flags = mapping.Kind switch
            {
                ClusterKind.Unallocated => ExtentFlags.Hole,
                ClusterKind.ZeroPlain or ClusterKind.ZeroAllocated => ExtentFlags.Zero,
                _ => ExtentFlags.None,
            };
            extents.Append(offset, mapping.Length, flags);
            offset += mapping.Length;
        }
    }

    private async ValueTask FlushWithBitmapsAsync(CancellationToken cancellationToken)
    {
        await _bitmapStore.EnterNewAsync(this, cancellationToken).ConfigureAwait(false);
        await _metadata.WriteBackAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>
    /// Lists what this image alone says of a range, without its backing chain: runs of one kind, those of data with
    /// their place in the file, or in the external data file.
    /// </summary>
    /// <param name="offset">Where the range begins.</param>
    /// <param name="length">How long it is.</param>
    /// <param name="extents">Takes the runs, in order; a run that continues the list's last one lengthens it.</param>
    /// <param name="maximumExtents">Stops when the list has so many.</param>
    /// <param name="cancellationToken">Stops it.</param>
    /// <returns>How many bytes of the range are described.</returns>
    public async ValueTask<long> MapAsync(
        long offset, long length, List<MappedExtent> extents, int maximumExtents = int.MaxValue,
        CancellationToken cancellationToken = default)
    {
        CheckInside(offset, length);
        var start = offset;
        var end = offset + length;
        while (offset < end)
        {
            if (!_metadata.TryMap(offset, end - offset, out var mapping))
            {
                await _metadata.LoadAsync(offset, cancellationToken).ConfigureAwait(false);
                continue;
            }

            var next = new MappedExtent(offset, mapping.Length, mapping.Kind, mapping.HostOffset)
            {
                HasHost = _layout.IsPlaced(new ClusterEntry(mapping.Entry, 0), mapping.Kind),
            };
            if (extents.Count > 0 && extents[^1].IsContinuedBy(next))
            {
                extents[^1] = extents[^1] with { Length = extents[^1].Length + next.Length };
            }
            else if (extents.Count >= maximumExtents)
            {
                break;
            }
            else
            {
                extents.Add(next);
            }

            offset += mapping.Length;
        }

        return offset - start;
    }

    private void CheckInside(long offset, long length)
    {
        if (offset < 0 || length < 0 || length > Length - offset)
        {
            throw new BlockException(
                BlockErrorKind.OutOfRange, $"range {offset}+{length} is outside node '{Name}' of {Length} bytes");
        }
    }

    private static void CheckOpen(string name, Qcow2Header header, BlockNode file, Qcow2OpenOptions options)
    {
        if (header.BackingFile is not null && options is { Backing: null, WithoutBacking: false })
        {
            throw Invalid(
                $"the image of node '{name}' has the backing file '{header.BackingFile}', and no backing node "
                + "was given");
        }

        Qcow2HeaderReader.CheckUsable(header, file.Length);
        if (header.HasDataFile != options.DataFile is not null)
        {
            throw Invalid(header.HasDataFile
                ? $"the image of node '{name}' has the external data file '{header.DataFile}', and no node was given "
                    + "for it"
                : $"a data file was given for node '{name}', and its image has none");
        }

        if (!options.ReadOnly)
        {
            CheckMayBeWritten(name, header, file, options.DataFile);
        }
    }

    private static void CheckMayBeWritten(string name, Qcow2Header header, BlockNode file, BlockNode? dataFile)
    {
        if (file.IsReadOnly || dataFile is { IsReadOnly: true })
        {
            throw new Qcow2Exception(
                BlockErrorKind.ReadOnly,
                $"node '{name}' cannot be writable: its file node '{file.Name}' or its data file is read-only");
        }

        if (header.IsCorrupt)
        {
            throw Qcow2Exception.Corrupt(
                $"the image of node '{name}' is marked corrupt; it can only be opened read-only. Repair it with "
                + "image check -r all");
        }
    }

    // The same image with the snapshot's L1 table; bitmaps say nothing of what was then.
    private static Qcow2Header AtSnapshot(
        Qcow2Header header, InternalSnapshot snapshot, BlockNode file, Qcow2OpenOptions options)
    {
        if (!options.ReadOnly)
        {
            throw Invalid($"the snapshot '{snapshot.Name}' can only be opened for reading");
        }

        return snapshot.L1Offset + (snapshot.L1EntryCount * 8L) > file.Length
            ? throw Qcow2Exception.Corrupt(
                $"the L1 table of snapshot '{snapshot.Name}', {snapshot.L1EntryCount} entries at "
                + $"0x{snapshot.L1Offset:x}, reaches past the end of the file")
            : header with
            {
                L1Offset = snapshot.L1Offset,
                L1EntryCount = snapshot.L1EntryCount,
                Bitmaps = null,
                BitmapsProblem = null,
            };
    }

    private static Qcow2Exception Invalid(string message) => new(BlockErrorKind.Invalid, message);

    // After a crash with lazy refcounts no count on disk can be believed: they are made anew from the tables.
    private static async ValueTask<Qcow2Header> RepairAsync(
        string name, BlockNode file, Qcow2OpenOptions options, CancellationToken cancellationToken)
    {
        var report = await Qcow2Check.RunAsync(
            file, new Qcow2CheckOptions { Repair = Qcow2Repair.All, DataFile = options.DataFile }, cancellationToken)
            .ConfigureAwait(false);
        if (report.Corruptions > report.IncompleteSnapshots || report.CheckErrors > 0)
        {
            throw Qcow2Exception.Corrupt(
                $"the image of node '{name}' was not closed cleanly, and its refcounts could not be rebuilt: "
                + string.Join("; ", report.Messages.Take(3)));
        }

        return await Qcow2Image.ReadHeaderAsync(file, cancellationToken).ConfigureAwait(false);
    }

    private BlockChild[] ListChildren()
    {
        List<BlockChild> children = [_fileChild];
        if (_dataChild is not null)
        {
            children.Add(_dataChild);
        }

        if (_backingChild is { } backing)
        {
            children.Add(backing);
        }

        return [.. children];
    }

    // What must be in the file before the first write: no unknown autoclear bit, and no bitmap that claims to be in
    // step.
    private async ValueTask PrepareForWritingAsync(CancellationToken cancellationToken)
    {
        var header = _metadata.Header;
        if ((header.AutoclearFeatures & ~FeatureBits.KnownAutoclear) != 0)
        {
            await _metadata.UpdateHeaderAsync(
                old => old with { AutoclearFeatures = old.AutoclearFeatures & FeatureBits.KnownAutoclear },
                cancellationToken)
                .ConfigureAwait(false);
        }

        await _bitmapStore.MarkInUseAsync(cancellationToken).ConfigureAwait(false);
    }

    // Bitmaps that cannot be stored do not keep the rest from the file.
    private async ValueTask CloseAsync()
    {
        await _metadata.WriteBackAsync(CancellationToken.None).ConfigureAwait(false);
        try
        {
            await _bitmapStore.StoreAsync(this, CancellationToken.None).ConfigureAwait(false);
        }
        finally
        {
            await _metadata.CloseAsync(CancellationToken.None).ConfigureAwait(false);
        }
    }

    private void Release()
    {
        _backingChild?.Dispose();
        _fileChild.Dispose();
        _dataChild?.Dispose();
        _metadata.Dispose();
        _bitmapStore.Dispose();
        foreach (var encoder in _encoders)
        {
            encoder.Dispose();
        }

        _file.Dispose();
        if (_dataChild is not null)
        {
            _data.Dispose();
        }
    }
}
