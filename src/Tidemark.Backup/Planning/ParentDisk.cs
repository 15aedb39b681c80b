namespace Tidemark.Backup.Planning;

/// <summary>What the repository's newest restore point of a disk says of it.</summary>
public sealed record ParentDisk
{
    /// <summary>The restore point's snapshot id.</summary>
    public required string SnapshotId { get; init; }

    /// <summary>The size of the disk in bytes at that point.</summary>
    public required long Size { get; init; }

    /// <summary>Bytes per chunk.</summary>
    public required int ChunkSize { get; init; }

    /// <summary>The bitmap that the restore point's run put on this very disk; null when it put none.</summary>
    public string? BitmapName { get; init; }

    /// <summary>That bitmap's granularity in bytes.</summary>
    public long Granularity { get; init; }

    /// <summary>Why nothing can be inherited from the restore point, for example because chunks were lost; null if all
    /// can.</summary>
    public string? Unusable { get; init; }
}
