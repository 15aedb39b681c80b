namespace Tidemark.Backup.Definitions;

/// <summary>Who moves the bytes of a backup.</summary>
public enum BackupMode
{
    /// <summary>The hypervisor exposes a frozen view of each disk; Tidemark reads it.</summary>
    Pull,

    /// <summary>The hypervisor's job writes to Tidemark.</summary>
    Push,
}
