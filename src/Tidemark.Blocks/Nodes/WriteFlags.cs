namespace Tidemark.Blocks.Nodes;

/// <summary>How a write, or a write of zeroes, is to be done.</summary>
[Flags]
public enum WriteFlags
{
    /// <summary>Nothing special.</summary>
    None = 0,

    /// <summary>Force unit access: the data is durable before the write completes.</summary>
    ForceUnitAccess = 1,

    /// <summary>Zeroes only: storage may be freed, as long as the range then reads as zero.</summary>
    MayUnmap = 2,

    /// <summary>Zeroes only: fail with <see cref="BlockErrorKind.NotSupported"/> rather than write bytes out.</summary>
    NoFallback = 4,

    /// <summary>
    /// The bytes are what the range reads as already, so the node's dirty bitmaps are not told of them: data of a
    /// backing file that is brought up into its overlay. Whoever sets it keeps every other writer off the range from
    /// before the bytes are read until the write has completed, or a mark would be missing. A write that fails is
    /// marked all the same.
    /// </summary>
    Unchanged = 8,
}
