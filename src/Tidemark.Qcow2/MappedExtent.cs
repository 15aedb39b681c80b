using Tidemark.Qcow2.Format;

namespace Tidemark.Qcow2;

/// <summary>A run of guest bytes that an image treats alike.</summary>
/// <param name="Offset">Where it begins on the disk.</param>
/// <param name="Length">How long it is.</param>
/// <param name="Kind">What it is.</param>
/// <param name="HostOffset">Of data, and of zeroes that keep host clusters: where the first byte lies in the image, or
/// in its data file. Zero otherwise.</param>
public readonly record struct MappedExtent(long Offset, long Length, ClusterKind Kind, long HostOffset)
{
    /// <summary>Where it ends on the disk.</summary>
    public long End => Offset + Length;

    internal bool IsContinuedBy(MappedExtent next) => next.Kind == Kind && next.Offset == End
        && (Kind is not (ClusterKind.Data or ClusterKind.ZeroAllocated) || next.HostOffset == HostOffset + Length);
}
