using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Format;

namespace Tidemark.Qcow2;

/// <summary>How an image is opened.</summary>
public sealed record Qcow2OpenOptions
{
    /// <summary>Writes are refused, and nothing in the file is changed.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>The node that answers for what the image has not allocated; of any length. Not disposed by the
    /// image.</summary>
    public BlockNode? Backing { get; init; }

    /// <summary>Opens an image that names a backing file without one: unallocated parts then read as zeroes. Otherwise
    /// that is refused, because it would misread the disk.</summary>
    public bool WithoutBacking { get; init; }

    /// <summary>The node that holds the guest data of an image with an external data file; needed for those, refused
    /// for others. Not disposed by the image.</summary>
    public BlockNode? DataFile { get; init; }

    /// <summary>The internal snapshot whose content the disk is to be, as <see cref="Qcow2Image.ReadSnapshotsAsync"/>
    /// gives it; for reading only. The disk keeps its present size, as in QEMU: what the snapshot does not reach is the
    /// backing file's, or zero.</summary>
    public InternalSnapshot? Snapshot { get; init; }

    /// <summary>Whether host clusters stay set aside for guest clusters that are discarded or zeroed, so that the file
    /// does not fragment: QEMU's <c>discard-no-unref</c>. Their space is given back to the file system all the
    /// same.</summary>
    public bool DiscardNoUnref { get; init; }

    /// <summary>What happens to stored bitmaps that contradict the format when the image is opened for
    /// writing.</summary>
    public BrokenBitmapPolicy BrokenBitmaps { get; init; }

    /// <summary>How hard compressed writes try, on the scale of the image's compression: zlib 1 to 9, zstd -7 to 19;
    /// null for fast and nearly as small as QEMU's.</summary>
    public int? CompressionLevel { get; init; }

    /// <summary>The most memory for cached L2 tables, in bytes; refcount blocks take up to an eighth of it
    /// more.</summary>
    public long MetadataCacheLimit { get; init; } = DefaultMetadataCacheLimit;

    /// <summary>32 MiB: the mapping of 256 GiB with clusters of 64 KiB.</summary>
    public const long DefaultMetadataCacheLimit = 32 << 20;

    /// <summary>The file grows in multiples of this, and is cut to its use when the image is closed.</summary>
    internal long GrowthStep { get; init; } = 8 << 20;
}
