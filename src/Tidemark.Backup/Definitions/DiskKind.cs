namespace Tidemark.Backup.Definitions;

/// <summary>How one disk of a backup is read.</summary>
public enum DiskKind
{
    /// <summary>The whole disk: its first restore point, or the user asked for it.</summary>
    Full,

    /// <summary>Only what a dirty bitmap says was written since the parent restore point.</summary>
    Incremental,

    /// <summary>The whole disk although a parent exists, because no bitmap can be trusted; only chunks that differ are
    /// stored.</summary>
    ReRead,
}
