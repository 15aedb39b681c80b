namespace Tidemark.Backup.Restore;

/// <summary>What is to be restored, and where to.</summary>
public sealed record RestoreRequest
{
    /// <summary>The snapshot: <c>latest</c>, an id, or a unique prefix.</summary>
    public required string Snapshot { get; init; }

    /// <summary>The one disk; null for all of the restore point.</summary>
    public string? Disk { get; init; }

    /// <summary>Only restore points of this virtual machine count for <c>latest</c>; null: of any.</summary>
    public string? VmName { get; init; }

    /// <summary>
    /// A file for one disk, a directory for several. A directory that exists gets <c>DISK.raw</c> or <c>DISK.qcow2</c>
    /// in any case.
    /// </summary>
    public required string To { get; init; }

    /// <summary>The format.</summary>
    public RestoreFormat Format { get; init; }

    /// <summary>Whether files that exist are replaced.</summary>
    public bool Force { get; init; }

    /// <summary>Reads <c>SNAPSHOT[:DISK]</c>.</summary>
    /// <returns>The snapshot, and the disk or null.</returns>
    public static (string Snapshot, string? Disk) ParseReference(string text)
    {
        var colon = text.IndexOf(':', StringComparison.Ordinal);
        return colon < 0 ? (text, null) : (text[..colon], text[(colon + 1)..]);
    }
}
