using Tidemark.Backup.Definitions;

namespace Tidemark.Backup.Planning;

/// <summary>Every step of a backup, decided before the first effect.</summary>
public sealed record BackupPlan : PlanOutcome
{
    /// <summary>The run's id.</summary>
    public required string RunId { get; init; }

    /// <summary>The checkpoint's id.</summary>
    public required string CheckpointId { get; init; }

    /// <summary>Push or pull.</summary>
    public required BackupMode Mode { get; init; }

    /// <summary>The disks in the order of their ordinals.</summary>
    public required IReadOnlyList<PlannedDisk> Disks { get; init; }

    /// <summary>The steps in order.</summary>
    public required IReadOnlyList<PlanStep> Steps { get; init; }

    /// <summary>The NBD server of the run.</summary>
    public required NbdAddress Nbd { get; init; }

    /// <summary>What the user should know before the run begins.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];
}
