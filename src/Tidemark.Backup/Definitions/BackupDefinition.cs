namespace Tidemark.Backup.Definitions;

/// <summary>A backup as it is asked for: libvirt's <c>domainbackup</c>.</summary>
public sealed record BackupDefinition
{
    /// <summary>Push (the default) or pull.</summary>
    public BackupMode Mode { get; init; } = BackupMode.Push;

    /// <summary>The checkpoint since which, for all disks that say nothing else; null for a full backup.</summary>
    public string? Incremental { get; init; }

    /// <summary>Where the exports of a pull are served; null for a push.</summary>
    public BackupServer? Server { get; init; }

    /// <summary>The disks, in their order; null when the XML had no such list, which means all.</summary>
    public IReadOnlyList<BackupDisk>? Disks { get; init; }

    /// <summary>What only the status XML has; otherwise null.</summary>
    public BackupPrivateData? PrivateData { get; init; }
}
