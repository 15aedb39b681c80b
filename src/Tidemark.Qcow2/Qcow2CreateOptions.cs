using Tidemark.Qcow2.Format;

namespace Tidemark.Qcow2;

/// <summary>What a new image is to be.</summary>
public sealed record Qcow2CreateOptions
{
    /// <summary>The size of the disk in bytes, up to <see cref="Qcow2Limits.MaximumCreateLength"/>.</summary>
    public required long Length { get; init; }

    /// <summary>Bytes in a cluster: a power of two from 512 to 2 MiB.</summary>
    public int ClusterSize { get; init; } = Qcow2Limits.DefaultClusterSize;

    /// <summary>Bits of a refcount: 1, 2, 4, 8, 16, 32 or 64.</summary>
    public int RefcountBits { get; init; } = 16;

    /// <summary>The backing file's name as it is to stand in the image, or null. It is not opened.</summary>
    public string? BackingFile { get; init; }

    /// <summary>The backing file's format; required with a backing file, because to guess it is unsafe.</summary>
    public string? BackingFormat { get; init; }
}
