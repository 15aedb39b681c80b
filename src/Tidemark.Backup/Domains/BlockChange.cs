namespace Tidemark.Backup.Domains;

/// <summary>What a commit, a pull or a copy is asked for.</summary>
public sealed record BlockChange
{
    /// <summary>The disk.</summary>
    public required string Disk { get; init; }

    /// <summary>Commit: the topmost layer to commit, by node or path; null for the active one.</summary>
    public string? Top { get; init; }

    /// <summary>Commit, pull: the layer that stays below, by node or path; null for the lowest one (commit), or for
    /// none (pull).</summary>
    public string? Base { get; init; }

    /// <summary>Commit: into the layer right below. Copy: only the active layer.</summary>
    public bool IsShallow { get; init; }

    /// <summary>Commit: that it is the active layer is intended.</summary>
    public bool IsActive { get; init; }

    /// <summary>Active commit, copy: whether the disk goes over to the other image at the end; otherwise it stays, and
    /// the other image is a copy.</summary>
    public bool Pivots { get; init; }

    /// <summary>Commit: whether the files of the committed layers are deleted.</summary>
    public bool DeletesFiles { get; init; }

    /// <summary>Copy: the other image's full path.</summary>
    public string? Destination { get; init; }

    /// <summary>Copy: its format; null for the active layer's.</summary>
    public string? Format { get; init; }

    /// <summary>Copy: whether it exists and is used as it is.</summary>
    public bool ReusesExternal { get; init; }

    /// <summary>Bytes a second; zero for no limit.</summary>
    public long Speed { get; init; }
}
