using Tidemark.Blocks.Nodes;

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

    /// <summary>The most memory for cached L2 tables, in bytes; refcount blocks take up to an eighth of it
    /// more.</summary>
    public long MetadataCacheLimit { get; init; } = DefaultMetadataCacheLimit;

    /// <summary>32 MiB: the mapping of 256 GiB with clusters of 64 KiB.</summary>
    public const long DefaultMetadataCacheLimit = 32 << 20;

    /// <summary>The file grows in multiples of this, and is cut to its use when the image is closed.</summary>
    internal long GrowthStep { get; init; } = 8 << 20;
}
