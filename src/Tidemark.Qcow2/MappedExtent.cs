using Tidemark.Qcow2.Format;

namespace Tidemark.Qcow2;

/// <summary>A run of guest bytes that an image treats alike.</summary>
/// <param name="Offset">Where it begins on the disk.</param>
/// <param name="Length">How long it is.</param>
/// <param name="Kind">What it is.</param>
/// <param name="HostOffset">Where the first byte of what has a place in the image, or in its data file, lies: data,
/// zeroes that keep host clusters, and subclusters that are not allocated in a cluster that is. Zero
/// otherwise.</param>
public readonly record struct MappedExtent(long Offset, long Length, ClusterKind Kind, long HostOffset)
{
    /// <summary>Where it ends on the disk.</summary>
    public long End => Offset + Length;

    /// <summary>Whether it has a place in the image or its data file.</summary>
    public bool HasHost { get; init; }

    internal bool IsContinuedBy(MappedExtent next) => next.Kind == Kind && next.Offset == End
        && next.HasHost == HasHost && (!HasHost || next.HostOffset == HostOffset + Length);
}
