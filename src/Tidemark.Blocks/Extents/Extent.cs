namespace Tidemark.Blocks.Extents;

/// <summary>A run of bytes of one disk that share the same <see cref="ExtentFlags"/>.</summary>
/// <param name="Offset">First byte, counted from the start of the disk.</param>
/// <param name="Length">Number of bytes, more than zero.</param>
/// <param name="Flags">What holds for every byte of the run.</param>
public readonly record struct Extent(long Offset, long Length, ExtentFlags Flags)
{
    /// <summary>The offset of the first byte after the run.</summary>
    public long End => Offset + Length;

    /// <summary>Whether every byte reads as zero.</summary>
    public bool IsZero => (Flags & ExtentFlags.Zero) != 0;

    /// <summary>Whether no storage is allocated for the run.</summary>
    public bool IsHole => (Flags & ExtentFlags.Hole) != 0;

    /// <summary>Whether the run was written since its dirty bitmap began to record.</summary>
    public bool IsDirty => (Flags & ExtentFlags.Dirty) != 0;
}
