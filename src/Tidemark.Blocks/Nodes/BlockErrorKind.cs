namespace Tidemark.Blocks.Nodes;

/// <summary>Why a block operation failed, for code that must choose; people read the message.</summary>
public enum BlockErrorKind
{
    /// <summary>The storage failed (EIO).</summary>
    Io,

    /// <summary>The storage is full (ENOSPC).</summary>
    NoSpace,

    /// <summary>The node or file may not be written (EPERM, EROFS).</summary>
    ReadOnly,

    /// <summary>The range lies outside the disk, or is not aligned as the node needs it (EINVAL).</summary>
    OutOfRange,

    /// <summary>The node, name or image is used by somebody else.</summary>
    Busy,

    /// <summary>The image is locked by another process.</summary>
    Locked,

    /// <summary>No node, bitmap or file has that name.</summary>
    NotFound,

    /// <summary>The name is taken, or not allowed.</summary>
    BadName,

    /// <summary>The node or format cannot do this (ENOTSUP).</summary>
    NotSupported,

    /// <summary>Bytes that were read contradict the format.</summary>
    Corrupt,

    /// <summary>
    /// The point in time was lost: old data could not be saved before a write, or the copier has ended.
    /// </summary>
    SnapshotBroken,

    /// <summary>An argument makes no sense here.</summary>
    Invalid,
}
