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
}
