namespace Tidemark.Blocks.Extents;

/// <summary>A run of bytes that the same image of a backing chain holds.</summary>
/// <param name="Offset">First byte, counted from the start of the disk.</param>
/// <param name="Length">Number of bytes, more than zero.</param>
/// <param name="Depth">1 for the image itself, 2 for its backing file, and so on; 0 where no image of the chain holds
/// anything.</param>
public readonly record struct DepthRun(long Offset, long Length, int Depth)
{
    /// <summary>The offset of the first byte after the run.</summary>
    public long End => Offset + Length;
}
