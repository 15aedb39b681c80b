using Tidemark.Backup.Definitions;

namespace Tidemark.Backup.Running;

/// <summary>What a user asks for.</summary>
public sealed record BackupRequest
{
    /// <summary>The virtual machine's name in the repository.</summary>
    public required string VmName { get; init; }

    /// <summary>The disks; empty for all that a guest uses.</summary>
    public IReadOnlyList<DiskSelection> Disks { get; init; } = [];

    /// <summary>Pull or push.</summary>
    public BackupMode Mode { get; init; } = BackupMode.Pull;

    /// <summary>Whether to read everything although an increment were possible.</summary>
    public bool Full { get; init; }

    /// <summary>The NBD server that the hypervisor already runs, as an NBD URI without an export; null: start
    /// one.</summary>
    public string? NbdUri { get; init; }

    /// <summary>Where the hypervisor puts scratch files; null: beside each disk's image.</summary>
    public string? ScratchDirectory { get; init; }
}
