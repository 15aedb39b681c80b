using Tidemark.Backup.Definitions;

namespace Tidemark.Backup.Domains;

/// <summary>What <c>backup-begin</c> is asked for.</summary>
public sealed record BackupBegin
{
    /// <summary>The backup.</summary>
    public required BackupDefinition Backup { get; init; }

    /// <summary>The checkpoint to make at the same instant; null for none.</summary>
    public CheckpointDefinition? Checkpoint { get; init; }

    /// <summary>Whether targets and scratch files exist already and are used as they are.</summary>
    public bool ReuseExternal { get; init; }

    /// <summary>Whether a disk whose bitmap cannot be trusted is backed up whole, instead of refusing the
    /// backup.</summary>
    public bool FallBackToFull { get; init; }

    /// <summary>Whether the new checkpoint stays although the backup fails or is given up.</summary>
    public bool KeepCheckpoint { get; init; }

    /// <summary>Bytes per bit of the new checkpoint's bitmaps; null for the default.</summary>
    public long? Granularity { get; init; }

    /// <summary>The directory at the hypervisor that holds its TLS certificates; null for none.</summary>
    public string? TlsDirectory { get; init; }

    /// <summary>Where, at the hypervisor, the key of each secret of an encrypted image lies: full paths by the secret's
    /// UUID or usage.</summary>
    public IReadOnlyDictionary<string, string> SecretFiles { get; init; } = new Dictionary<string, string>();

    /// <summary>Pull: whether the hypervisor's NBD server runs already at that address.</summary>
    public bool NbdRuns { get; init; }
}
