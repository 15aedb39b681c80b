namespace Tidemark.Backup.Definitions;

/// <summary>What of a disk is asked for: the attribute <c>backupmode</c>.</summary>
public enum DiskBackupMode
{
    /// <summary>The whole disk.</summary>
    Full,

    /// <summary>What was written since a checkpoint.</summary>
    Incremental,
}
