using Tidemark.Backup.Definitions;

namespace Tidemark.Backup.Planning;

/// <summary>What to plan for a virtual machine's backup: everything that does not come from the hypervisor.</summary>
public sealed record DomainBackupRequest
{
    /// <summary>The run's id: everything that the run makes and takes back is named after it.</summary>
    public required string RunId { get; init; }

    /// <summary>What is asked for; what it leaves open is filled in.</summary>
    public required BackupDefinition Backup { get; init; }

    /// <summary>The checkpoint to create at the same instant; null for none.</summary>
    public CheckpointDefinition? Checkpoint { get; init; }

    /// <summary>The virtual machine's disks, in their order.</summary>
    public required IReadOnlyList<DomainDisk> Disks { get; init; }

    /// <summary>Now, in seconds since 1970: names what has no name.</summary>
    public required long Time { get; init; }

    /// <summary>The checkpoints of the virtual machine by name; null when nobody keeps them, and then a checkpoint is
    /// what the bitmaps say it is.</summary>
    public IReadOnlyDictionary<string, CheckpointDefinition>? Checkpoints { get; init; }

    /// <summary>The current checkpoint, which becomes the new one's parent; null when there is none.</summary>
    public string? CurrentCheckpoint { get; init; }

    /// <summary>Whether targets and scratch files exist already and are used as they are
    /// (<c>--reuse-external</c>).</summary>
    public bool ReuseExternal { get; init; }

    /// <summary>Whether a disk whose bitmap cannot be trusted is read whole, with the reason, instead of refusing the
    /// whole backup.</summary>
    public bool FallBackToFull { get; init; }

    /// <summary>Bytes per bit of the new checkpoint's bitmaps; null for the hypervisor's own choice.</summary>
    public long? Granularity { get; init; }

    /// <summary>The directory at the hypervisor that holds its TLS certificates; null when there is none.</summary>
    public string? TlsDirectory { get; init; }

    /// <summary>Where, at the hypervisor, the key of each secret lies: full paths by the secret's UUID or usage. A key
    /// is all the bytes of its file.</summary>
    public IReadOnlyDictionary<string, string> SecretFiles { get; init; } = new Dictionary<string, string>();

    /// <summary>Pull: whether the hypervisor's NBD server runs already at that address; then it is used and not
    /// stopped.</summary>
    public bool NbdRuns { get; init; }
}
