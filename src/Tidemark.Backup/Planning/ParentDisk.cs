namespace Tidemark.Backup.Planning;

/// <summary>What the restore point that the next one can build on says of a disk.</summary>
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

    /// <summary>The bitmaps of this restore point and of newer ones that were passed over for it: none is needed any
    /// more when the next restore point stands.</summary>
    public IReadOnlyList<string> KnownBitmaps { get; init; } = [];

    /// <summary>That bitmap's granularity in bytes.</summary>
    public long Granularity { get; init; }

    /// <summary>Why nothing can be inherited from the restore point, for example because chunks were lost; null if all
    /// can.</summary>
    public string? Unusable { get; init; }
}
