using Tidemark.Backup.Definitions;
using Tidemark.Backup.Planning;

namespace Tidemark.Backup.Journal;

/// <summary>What a later command must know of a backup that goes on without us.</summary>
public sealed record JournalJob
{
    /// <summary>Push or pull.</summary>
    public required BackupMode Mode { get; init; }

    /// <summary>The new checkpoint; null for none.</summary>
    public string? Checkpoint { get; init; }

    /// <summary>Whether the checkpoint stays although the backup fails or is given up.</summary>
    public bool KeepsCheckpoint { get; init; }

    /// <summary>The NBD server of a pull; null for a push.</summary>
    public NbdAddress? Nbd { get; init; }

    /// <summary>The disks.</summary>
    public required IReadOnlyList<JournalJobDisk> Disks { get; init; }

    /// <summary>The definition with its defaults, as <c>backup-dumpxml</c> prints it.</summary>
    public required string Definition { get; init; }
}
