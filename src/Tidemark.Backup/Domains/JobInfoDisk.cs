namespace Tidemark.Backup.Domains;

/// <summary>One disk of a domain's backup.</summary>
/// <param name="Name">The disk's name.</param>
/// <param name="State">The job's state: the hypervisor's word while it runs, then how it ended.</param>
/// <param name="IsIncremental">Whether only what a bitmap names is backed up.</param>
/// <param name="Reason">Why it is read whole although an increment was asked for; null when it is not so.</param>
/// <param name="Total">The bytes to copy (push), or the disk's size (pull).</param>
/// <param name="Done">The bytes copied (push), or saved in the scratch (pull).</param>
/// <param name="Source">The image, as the hypervisor calls it.</param>
/// <param name="Error">What its job failed with; null when it did not.</param>
public sealed record JobInfoDisk(
    string Name,
    string State,
    bool IsIncremental,
    string? Reason,
    long Total,
    long Done,
    string Source,
    string? Error);
