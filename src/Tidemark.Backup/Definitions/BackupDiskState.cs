namespace Tidemark.Backup.Definitions;

/// <summary>How far a disk of a running backup is: the attribute <c>state</c> of the status XML.</summary>
public enum BackupDiskState
{
    /// <summary>Its job runs.</summary>
    Running,

    /// <summary>Its job succeeded.</summary>
    Complete,

    /// <summary>Its job failed.</summary>
    Failed,

    /// <summary>Its job was asked to end.</summary>
    Cancelling,

    /// <summary>Its job was cancelled.</summary>
    Cancelled,
}
