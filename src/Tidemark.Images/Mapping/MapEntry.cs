namespace Tidemark.Images.Mapping;

/// <summary>A run of a disk that its chain of images treats alike: one entry of <c>map</c>.</summary>
/// <param name="Start">Where it begins.</param>
/// <param name="Length">How long it is.</param>
/// <param name="Depth">Which image of the chain answers for it, 0 for the top.</param>
/// <param name="Flags">What is known of it.</param>
/// <param name="Offset">Where its first byte lies in the file; meaningful with <see cref="MapFlags.Offset"/>.</param>
public readonly record struct MapEntry(long Start, long Length, int Depth, MapFlags Flags, long Offset)
{
    /// <summary>Where it ends.</summary>
    public long End => Start + Length;

    /// <summary>Whether one flag is set.</summary>
    public bool Has(MapFlags flag) => (Flags & flag) != 0;

    /// <summary>Whether the other says the same of its bytes, wherever they lie.</summary>
    internal bool HasSameAllocation(MapEntry other) => Flags == other.Flags;

    /// <summary>Whether the other one says the same of the bytes behind this: both are one run.</summary>
    public bool IsContinuedBy(MapEntry next) => next.Start == End && next.Depth == Depth && next.Flags == Flags
        && (!Has(MapFlags.Offset) || next.Offset == Offset + Length);
}
