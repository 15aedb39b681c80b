namespace Tidemark.Backup.Definitions;

/// <summary>One disk of a backup: the element <c>disk</c> of <c>domainbackup</c>.</summary>
/// <param name="Name">The disk's target, for example <c>vda</c>.</param>
public sealed record BackupDisk(string Name)
{
    /// <summary>Whether the disk takes part; the rest means nothing when it does not.</summary>
    public bool IsIncluded { get; init; } = true;

    /// <summary>What the image lies on; null while it has not been decided.</summary>
    public ImageKind? Kind { get; init; }

    /// <summary>What of the disk is asked for; null while it has not been decided.</summary>
    public DiskBackupMode? Mode { get; init; }

    /// <summary>The checkpoint since which; null for the backup's own, or for a full backup.</summary>
    public string? Incremental { get; init; }

    /// <summary>The NBD export's name (pull); null for the disk's.</summary>
    public string? ExportName { get; init; }

    /// <summary>The name under which the export offers the bitmap (pull); null for <c>backup-</c> and the disk's
    /// name.</summary>
    public string? ExportBitmap { get; init; }

    /// <summary>The image's number in the running virtual machine; output only.</summary>
    public long? Index { get; init; }

    /// <summary>How far it is; in the status XML only.</summary>
    public BackupDiskState? State { get; init; }

    /// <summary>The image's format; null for <c>qcow2</c> by default.</summary>
    public string? Format { get; init; }

    /// <summary>What is written; null while it has not been decided.</summary>
    public BackupImage? Image { get; init; }
}
