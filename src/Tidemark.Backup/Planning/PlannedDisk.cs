using Tidemark.Backup.Actions;
using Tidemark.Backup.Definitions;

namespace Tidemark.Backup.Planning;

/// <summary>What a plan does with one disk.</summary>
public sealed record PlannedDisk
{
    /// <summary>The disk's number in the run, from zero.</summary>
    public required int Ordinal { get; init; }

    /// <summary>The disk's name in the repository.</summary>
    public required string Name { get; init; }

    /// <summary>The disk's own node: the active layer.</summary>
    public required string NodeName { get; init; }

    /// <summary>The node's driver.</summary>
    public required string Driver { get; init; }

    /// <summary>What the hypervisor calls the image.</summary>
    public required string Filename { get; init; }

    /// <summary>The size of the disk in bytes.</summary>
    public required long Size { get; init; }

    /// <summary>Bytes per chunk.</summary>
    public required int ChunkSize { get; init; }

    /// <summary>How the disk is read.</summary>
    public required DiskKind Kind { get; init; }

    /// <summary>Why it is read so; empty for a plain increment.</summary>
    public required string Reason { get; init; }

    /// <summary>The restore point before this one; null for a full backup.</summary>
    public ParentDisk? Parent { get; init; }

    /// <summary>The new checkpoint's bitmap on the disk; null when the disk cannot keep one.</summary>
    public BitmapReference? Checkpoint { get; init; }

    /// <summary>The new checkpoint's granularity in bytes.</summary>
    public long Granularity { get; init; }

    /// <summary>Where the temporary bitmap of an increment is; null when the whole disk is read.</summary>
    public BitmapReference? Temporary { get; init; }

    /// <summary>The backup job.</summary>
    public required string JobId { get; init; }

    /// <summary>The export's id and NBD name: the hypervisor's in pull mode, ours in push mode.</summary>
    public required string ExportName { get; init; }

    /// <summary>Bitmaps of the superseded checkpoint, removed once the new restore point is durable.</summary>
    public IReadOnlyList<BitmapReference> Superseded { get; init; } = [];
}
