namespace Tidemark.Backup.Definitions;

/// <summary>What an image lies on.</summary>
public enum ImageKind
{
    /// <summary>A regular file.</summary>
    File,

    /// <summary>A block device.</summary>
    Block,

    /// <summary>Anything else: a network disk, a volume, an image that has no path. Only a virtual machine's own disk
    /// can be of this kind, never a target.</summary>
    Other,
}
