using Tidemark.Backup.Definitions;
using Tidemark.Backup.Journal;

namespace Tidemark.Backup.Domains;

/// <summary>How a domain's backup goes, or went. Names and numbers are libvirt's where it has them.</summary>
public sealed record DomainJobInfo
{
    /// <summary>The backup's run id.</summary>
    public required string RunId { get; init; }

    /// <summary>Push or pull.</summary>
    public required BackupMode Mode { get; init; }

    /// <summary>How it ended; null while it runs.</summary>
    public JobResult? Result { get; init; }

    /// <summary>The instant of its transaction.</summary>
    public required DateTimeOffset Begun { get; init; }

    /// <summary>How long it has run, or ran.</summary>
    public required TimeSpan Elapsed { get; init; }

    /// <summary>The bytes that the jobs have to copy (push), or the sizes of the disks (pull).</summary>
    public required long TotalBytes { get; init; }

    /// <summary>The bytes that the jobs have copied (push), or saved in the scratch (pull).</summary>
    public required long DoneBytes { get; init; }

    /// <summary>Pull: the connected NBD clients; null for a push, or when they cannot be seen from here.</summary>
    public int? Clients { get; init; }

    /// <summary>The new checkpoint, if it stands or is about to.</summary>
    public string? Checkpoint { get; init; }

    /// <summary>The first error; null when there was none.</summary>
    public string? Error { get; init; }

    /// <summary>The disks.</summary>
    public required IReadOnlyList<JobInfoDisk> Disks { get; init; }

    /// <summary>libvirt's <c>virDomainJobType</c>: 2 (unbounded) while it runs, then how it ended.</summary>
    public int TypeNumber => Result is { } result ? (int)result : 2;

    /// <summary>The name of <see cref="TypeNumber"/> as virsh prints it.</summary>
    public string TypeName => Result switch
    {
        null => "Unbounded",
        JobResult.Completed => "Completed",
        JobResult.Failed => "Failed",
        _ => "Cancelled",
    };
}
