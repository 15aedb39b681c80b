using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Format;

namespace Tidemark.Qcow2;

/// <summary>What a new image is to be: QEMU's creation options.</summary>
public sealed record Qcow2CreateOptions
{
    /// <summary>The size of the disk in bytes, up to <see cref="Qcow2Limits.MaximumCreateLength"/>.</summary>
    public required long Length { get; init; }

    /// <summary>3, or 2 for programs older than QEMU 1.1: <c>compat=0.10</c>.</summary>
    public int Version { get; init; } = 3;

    /// <summary>Bytes in a cluster: a power of two from 512 to 2 MiB.</summary>
    public int ClusterSize { get; init; } = Qcow2Limits.DefaultClusterSize;

    /// <summary>Bits of a refcount: 1, 2, 4, 8, 16, 32 or 64; version 2 has 16.</summary>
    public int RefcountBits { get; init; } = 16;

    /// <summary>Whether refcounts are written only when the image is closed, and made anew after a crash.</summary>
    public bool LazyRefcounts { get; init; }

    /// <summary>Whether clusters have 32 subclusters with a state of their own; clusters of at least 16 KiB.</summary>
    public bool ExtendedL2 { get; init; }

    /// <summary>How compressed clusters are compressed: 0 zlib, 1 zstd.</summary>
    public int CompressionType { get; init; }

    /// <summary>The backing file's name as it is to stand in the image, or null. It is not opened.</summary>
    public string? BackingFile { get; init; }

    /// <summary>The backing file's format; required with a backing file, because to guess it is unsafe.</summary>
    public string? BackingFormat { get; init; }

    /// <summary>The external data file's name as it is to stand in the image, or null.</summary>
    public string? DataFile { get; init; }

    /// <summary>Whether the external data file is to hold the disk by itself, readable without the image.</summary>
    public bool DataFileRaw { get; init; }

    /// <summary>The node of the external data file; needed with <see cref="DataFile"/>. What it held is
    /// overwritten.</summary>
    public BlockNode? DataFileNode { get; init; }

    /// <summary>What is allocated in advance. With a raw data file at least the tables are.</summary>
    public Qcow2Preallocation Preallocation { get; init; }
}
