using Tidemark.Backup.Definitions;

namespace Tidemark.Backup.RestorePoints;

/// <summary>What <c>tidemark.json</c> says of one disk.</summary>
public sealed record ManifestDisk
{
    /// <summary>The disk's name.</summary>
    public required string Name { get; init; }

    /// <summary>The node it was read from.</summary>
    public required string Node { get; init; }

    /// <summary>The node's driver.</summary>
    public required string Driver { get; init; }

    /// <summary>What the hypervisor called the image.</summary>
    public required string Filename { get; init; }

    /// <summary>The size in bytes.</summary>
    public required long Size { get; init; }

    /// <summary>Bytes per chunk.</summary>
    public required int ChunkSize { get; init; }

    /// <summary>How the disk was read.</summary>
    public required DiskKind Kind { get; init; }

    /// <summary>Why it was read so.</summary>
    public required string Reason { get; init; }

    /// <summary>The parent restore point's snapshot id, or null.</summary>
    public string? Parent { get; init; }

    /// <summary>The bitmap that this run put on the disk; null when the disk cannot keep one.</summary>
    public string? Bitmap { get; init; }

    /// <summary>That bitmap's granularity in bytes.</summary>
    public long Granularity { get; init; }

    /// <summary>Bytes that had to be looked at.</summary>
    public long BytesDirty { get; init; }

    /// <summary>Bytes of data transferred.</summary>
    public long BytesRead { get; init; }

    /// <summary>Bytes added to the repository.</summary>
    public long BytesStored { get; init; }

    /// <summary>How long it took, in seconds.</summary>
    public double Seconds { get; init; }
}
