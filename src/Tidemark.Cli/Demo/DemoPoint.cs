namespace Tidemark.Cli.Demo;

/// <summary>One restore point of the demo: how it was made, and what became of it when it was restored.</summary>
internal sealed record DemoPoint
{
    /// <summary>1 for the first.</summary>
    public required int Number { get; init; }

    /// <summary>The restore point's snapshot id.</summary>
    public required string SnapshotId { get; init; }

    /// <summary>The first digits of the id.</summary>
    public string ShortId => SnapshotId[..8];

    /// <summary><c>pull</c> or <c>push</c>.</summary>
    public required string Mode { get; init; }

    /// <summary><c>full</c>, <c>incremental</c> or <c>re-read</c>.</summary>
    public required string Kind { get; init; }

    /// <summary>Bytes that the bitmap said were written since the point before.</summary>
    public required long DirtyBytes { get; init; }

    /// <summary>Bytes read from the disk.</summary>
    public required long ReadBytes { get; init; }

    /// <summary>Bytes added to the repository.</summary>
    public required long StoredBytes { get; init; }

    /// <summary>How long the backup took.</summary>
    public required TimeSpan BackupTime { get; init; }

    /// <summary>The guest's writes that were certainly acknowledged before the instant.</summary>
    public required int FirstInstant { get; init; }

    /// <summary>The guest's writes that may have been acknowledged before the instant.</summary>
    public required int LastInstant { get; init; }

    /// <summary>How many writes the guest made between the instant and the end of the backup.</summary>
    public required int WritesMeanwhile { get; init; }

    /// <summary>How long the restore took.</summary>
    public TimeSpan RestoreTime { get; init; }

    /// <summary>The guest's write after which the restored disk is its
    /// disk, byte for byte; null when it never was.</summary>
    public int? Instant { get; init; }
}
