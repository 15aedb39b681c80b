using Tidemark.Blocks.Nodes;

namespace Tidemark.Qcow2.Checking;

/// <summary>How an image is checked.</summary>
public sealed record Qcow2CheckOptions
{
    /// <summary>What is put right.</summary>
    public Qcow2Repair Repair { get; init; }

    /// <summary>The external data file of an image that has one: its length is compared with the mapping. Not
    /// needed.</summary>
    public BlockNode? DataFile { get; init; }

    /// <summary>The most memory for the uses that are counted, in bytes. A file with more clusters is checked in
    /// several passes, each over a part of it.</summary>
    public long MemoryLimit { get; init; } = DefaultMemoryLimit;

    /// <summary>64 MiB: one pass for a file of 4 TiB with clusters of 64 KiB.</summary>
    public const long DefaultMemoryLimit = 64 << 20;
}
