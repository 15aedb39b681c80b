namespace Tidemark.Blocks.Extents;

/// <summary>What is known of the bytes of an <see cref="Extent"/>. No flag set means allocated data.</summary>
/// <remarks>
/// <see cref="Hole"/> and <see cref="Zero"/> have the values and meaning of the NBD protocol's
/// <c>base:allocation</c> context (doc/proto.md, "base:allocation metadata context").
/// </remarks>
[Flags]
public enum ExtentFlags
{
    /// <summary>Allocated data, or nothing known.</summary>
    None = 0,

    /// <summary>No storage is allocated for the range. Says nothing about what a read returns.</summary>
    Hole = 1,

    /// <summary>Every byte of the range reads as zero.</summary>
    Zero = 2,

    /// <summary>The range was written since the dirty bitmap began to record.</summary>
    Dirty = 4,
}
