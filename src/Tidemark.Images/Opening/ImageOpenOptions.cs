using Tidemark.Images.Formats;
using Tidemark.Qcow2;

namespace Tidemark.Images.Opening;

/// <summary>How an image and its backing chain are opened.</summary>
public sealed record ImageOpenOptions
{
    /// <summary>The top's format, one of <see cref="ImageFormat.Names"/>; null to look at its first bytes.</summary>
    public string? Format { get; init; }

    /// <summary>Whether the top is opened for writing. What lies below never is.</summary>
    public bool Writable { get; init; }

    /// <summary>Which image of the chain is opened for writing besides the top, counted from it; 0 for none. For a
    /// commit.</summary>
    public int WritableDepth { get; init; }

    /// <summary>What happens to stored bitmaps that contradict the format when the top is opened for
    /// writing.</summary>
    public BrokenBitmapPolicy BrokenBitmaps { get; init; }

    /// <summary>Whether images that others write are opened all the same, for reading: qemu-img's <c>-U</c>.</summary>
    public bool ForceShare { get; init; }

    /// <summary>Whether the names of backing and data files that stand in images are followed. Off, an image that has
    /// one is refused: a name in a hostile image can be that of any file of the host.</summary>
    public bool FollowNames { get; init; } = true;

    /// <summary>Whether the top is opened alone: what it has not allocated reads as zeroes. For its metadata
    /// only.</summary>
    public bool WithoutBacking { get; init; }

    /// <summary>The internal snapshot of the top whose content is wanted; null for its present content. For reading
    /// only.</summary>
    public SnapshotSelector? Snapshot { get; init; }

    /// <summary>Whether only files and headers are wanted: no image becomes a disk, no data file is opened.</summary>
    public bool HeadersOnly { get; init; }

    /// <summary>Bypasses QEMU's image locks.</summary>
    public bool WithoutLocks { get; init; }

    /// <summary>Whether flushes of files that are written do nothing: cache mode <c>unsafe</c>. After a crash of the
    /// host the image may then hold anything.</summary>
    public bool WithoutFlush { get; init; }

    /// <summary>The most connections to one NBD server; it must offer to serve several.</summary>
    public int NbdConnections { get; init; } = 1;

    /// <summary>Metadata contexts that are asked of an NBD server besides <c>base:allocation</c>.</summary>
    public IReadOnlyList<string> MetaContexts { get; init; } = [];

    /// <summary>The top's node name; the nodes below are named after it.</summary>
    public string NodeName { get; init; } = "image";

    /// <summary>The most memory for the L2 tables of the whole chain, in bytes.</summary>
    public long MetadataCacheLimit { get; init; } = DefaultMetadataCacheLimit;

    /// <summary>32 MiB for all images of a chain together.</summary>
    public const long DefaultMetadataCacheLimit = 32 << 20;
}
