using Tidemark.Backup.Definitions;

namespace Tidemark.Backup.Planning;

/// <summary>Every step of a virtual machine's backup, decided before the first effect. It shares its steps, undo
/// actions and transaction actions with <see cref="BackupPlan"/>.</summary>
public sealed record DomainBackupPlan : PlanOutcome
{
    /// <summary>The run's id.</summary>
    public required string RunId { get; init; }

    /// <summary>Push or pull.</summary>
    public BackupMode Mode => Backup.Mode;

    /// <summary>What will be done, everything filled in: what a running backup shows as its XML.</summary>
    public required BackupDefinition Backup { get; init; }

    /// <summary>The new checkpoint, everything filled in; null for none.</summary>
    public CheckpointDefinition? Checkpoint { get; init; }

    /// <summary>The disks that take part, in the order of their ordinals.</summary>
    public required IReadOnlyList<DomainPlannedDisk> Disks { get; init; }

    /// <summary>The steps in order.</summary>
    public required IReadOnlyList<PlanStep> Steps { get; init; }

    /// <summary>Where a pull's exports are served; null in push mode.</summary>
    public NbdAddress? Nbd { get; init; }

    /// <summary>What the user should know before the run begins.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];
}
