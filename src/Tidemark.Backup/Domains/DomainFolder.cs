using Tidemark.Backup.Journal;

namespace Tidemark.Backup.Domains;

/// <summary>The state of one domain: what its verbs must find again in the next command.</summary>
/// <remarks>
/// <code>
/// lock             held by a command while it changes something, never while it only waits
/// journal          the backup that runs, or what a killed command left of one
/// work             what a command does that ends with it; after a kill, what it left
/// disks            the names of the disks, by what uses them and by their files
/// held             the jobs that a command has paused for a moment
/// completed        how the last backup ended
/// checkpoints/     one definition a checkpoint, and which one is current
/// </code>
/// </remarks>
/// <param name="Path">The folder.</param>
internal sealed record DomainFolder(string Path)
{
    /// <summary>The lock and the journal.</summary>
    public RunFolder Run { get; } = new(Path);

    /// <summary>The journal of a command's own work, which a backup may go on beside.</summary>
    public string WorkPath => System.IO.Path.Combine(Path, "work");

    /// <summary>The names of the disks.</summary>
    public string DisksPath => System.IO.Path.Combine(Path, "disks");

    /// <summary>The jobs that stand still while a command asks for nodes.</summary>
    public string HeldPath => System.IO.Path.Combine(Path, "held");

    /// <summary>How the last backup ended.</summary>
    public string CompletedPath => System.IO.Path.Combine(Path, "completed");

    /// <summary>The definitions of the checkpoints.</summary>
    public string CheckpointsPath => System.IO.Path.Combine(Path, "checkpoints");
}
