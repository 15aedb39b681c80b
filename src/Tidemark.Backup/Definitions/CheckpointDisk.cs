namespace Tidemark.Backup.Definitions;

/// <summary>One disk of a checkpoint: the element <c>disk</c> of <c>domaincheckpoint</c>.</summary>
/// <param name="Name">The disk's target; in a request also its image's full path.</param>
public sealed record CheckpointDisk(string Name)
{
    /// <summary>Whether the disk has a bitmap of the checkpoint (<c>bitmap</c>) or not (<c>no</c>); null while it has
    /// not been decided, which becomes yes.</summary>
    public bool? HasBitmap { get; init; }

    /// <summary>The bitmap's name; null while it has not been decided.</summary>
    public string? Bitmap { get; init; }

    /// <summary>How many bytes were written since; null when nobody asked.</summary>
    public long? Size { get; init; }
}
