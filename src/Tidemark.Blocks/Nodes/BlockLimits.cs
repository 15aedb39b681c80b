namespace Tidemark.Blocks.Nodes;

/// <summary>What a node asks of its callers, in bytes.</summary>
public sealed record BlockLimits
{
    /// <summary>No demands: any offset and length, transfers up to <see cref="MaximumTransfer"/>'s default.</summary>
    public static BlockLimits Default { get; } = new();

    /// <summary>Offsets and lengths must be multiples of this; a power of two.</summary>
    public int RequestAlignment { get; init; } = 1;

    /// <summary>The longest read or write, 32 MiB by default (the NBD protocol's customary maximum).</summary>
    public int MaximumTransfer { get; init; } = 32 << 20;

    /// <summary>The unit that the node stores and copies best: a qcow2 cluster, a page of a file.</summary>
    public int PreferredSize { get; init; } = 4096;

    /// <summary>The cluster size of the node's format; zero when the format has none (raw).</summary>
    public int ClusterSize { get; init; }
}
