namespace Tidemark.Nbd.Protocol;

/// <summary>The errors that a server may report ("Error values"). The values are Linux's errno.</summary>
public enum NbdError
{
    /// <summary>No error.</summary>
    None = 0,

    /// <summary>Not permitted: the export is read-only.</summary>
    EPERM = 1,

    /// <summary>The storage failed.</summary>
    EIO = 5,

    /// <summary>No memory.</summary>
    ENOMEM = 12,

    /// <summary>The request makes no sense, or lies outside the export.</summary>
    EINVAL = 22,

    /// <summary>The storage is full, or a write lies outside the export.</summary>
    ENOSPC = 28,

    /// <summary>The request is too large.</summary>
    EOVERFLOW = 75,

    /// <summary>Zeroes cannot be written fast.</summary>
    ENOTSUP = 95,

    /// <summary>The server is shutting down.</summary>
    ESHUTDOWN = 108,
}
