using System.Globalization;

namespace Tidemark.Backup.Domains;

/// <summary>
/// The names of what a change makes. The nodes outlive it: they are the disk from then on, so they are not named like
/// what a backup takes back. A node's name has at most 31 characters.
/// </summary>
/// <param name="RunId">The change's id.</param>
internal sealed record ChangeNames(string RunId)
{
    /// <summary>The node of an overlay or a mirror.</summary>
    internal string Node(int disk) => string.Create(CultureInfo.InvariantCulture, $"disk-{RunId}-{disk}");

    /// <summary>The node of its file.</summary>
    internal string FileNode(int disk) => string.Create(CultureInfo.InvariantCulture, $"file-{RunId}-{disk}");

    /// <summary>The job that formats it.</summary>
    internal string CreateJob(int disk) => string.Create(CultureInfo.InvariantCulture, $"create-{RunId}-{disk}");

    /// <summary>The job of the change.</summary>
    internal string Job => $"change-{RunId}";
}
