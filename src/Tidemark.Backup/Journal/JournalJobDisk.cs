namespace Tidemark.Backup.Journal;

/// <summary>One disk of a domain's backup.</summary>
public sealed record JournalJobDisk
{
    /// <summary>The disk's name.</summary>
    public required string Name { get; init; }

    /// <summary>The disk's own node when the backup began.</summary>
    public required string Node { get; init; }

    /// <summary>The hypervisor's job.</summary>
    public required string JobId { get; init; }

    /// <summary>The node that gets the data: the target, or the scratch.</summary>
    public required string TargetNode { get; init; }

    /// <summary>The export of the frozen view (pull); null for a push.</summary>
    public JournalExport? Export { get; init; }

    /// <summary>The disk's size in bytes.</summary>
    public required long Size { get; init; }

    /// <summary>Whether only what a bitmap names is backed up.</summary>
    public bool IsIncremental { get; init; }

    /// <summary>Why the disk is read whole although an increment was asked for; null when it is not so.</summary>
    public string? Reason { get; init; }

    /// <summary>The image's path as the hypervisor calls it, for events.</summary>
    public string Source { get; init; } = "";

    /// <summary>The target's or the scratch's path; empty when it is none.</summary>
    public string Target { get; init; } = "";
}
