namespace Tidemark.Backup.Checkpoints;

/// <summary>How a checkpoint's bitmap on one disk really stands.</summary>
public enum BitmapStanding
{
    /// <summary>It can be trusted (rule R1).</summary>
    Valid,

    /// <summary>No layer of the disk has it.</summary>
    Missing,

    /// <summary>A layer has it, but its image was not closed cleanly.</summary>
    Inconsistent,

    /// <summary>It is there, but may have missed writes: a layer without it in between, not recording, not
    /// persistent.</summary>
    Broken,

    /// <summary>The domain has no such disk now.</summary>
    NoDisk,

    /// <summary>A bitmap that no definition names, and that was never a checkpoint of this domain: another
    /// tool's.</summary>
    Foreign,

    /// <summary>A bitmap that no definition names any more: its checkpoint's definition was deleted or lost.</summary>
    Orphaned,

    /// <summary>A bitmap that belongs to a restore point in a repository, made by <c>tidemark backup</c>.</summary>
    RestorePoint,

    /// <summary>A bitmap that a backup only needs while it runs.</summary>
    Temporary,
}
