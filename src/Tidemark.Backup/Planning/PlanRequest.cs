using Tidemark.Backup.Definitions;

namespace Tidemark.Backup.Planning;

/// <summary>What to plan: everything that does not come from the hypervisor or the repository.</summary>
public sealed record PlanRequest
{
    /// <summary>The run's id; its checkpoint is named after it.</summary>
    public required string RunId { get; init; }

    /// <summary>Push or pull.</summary>
    public required BackupMode Mode { get; init; }

    /// <summary>The disks asked for; empty for all that a guest uses.</summary>
    public IReadOnlyList<DiskSelection> Disks { get; init; } = [];

    /// <summary>Whether the user asked for a full backup.</summary>
    public bool Full { get; init; }

    /// <summary>The NBD server: in pull mode the hypervisor's, in push mode ours.</summary>
    public required NbdAddress Nbd { get; init; }

    /// <summary>Pull: whether the hypervisor runs that NBD server already; then it is used and not stopped.</summary>
    public bool NbdRuns { get; init; }

    /// <summary>The run's own directory on this machine for sockets; removed at the end. Null when none is
    /// needed.</summary>
    public string? RunDirectory { get; init; }

    /// <summary>The other host on which the hypervisor runs; null when it runs on this one.</summary>
    public string? RemoteHost { get; init; }

    /// <summary>Where the hypervisor puts scratch files; null: beside the disk's image.</summary>
    public string? ScratchDirectory { get; init; }

    /// <summary>Bytes per chunk of a disk that has no parent.</summary>
    public int ChunkSize { get; init; } = BackupLimits.DefaultChunkSize;

    /// <summary>Bytes per bit of new checkpoint bitmaps.</summary>
    public long Granularity { get; init; } = BackupLimits.DefaultGranularity;
}
