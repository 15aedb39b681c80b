namespace Tidemark.Repository;

/// <summary>Why a repository operation failed, for code that must choose; people read the message.</summary>
public enum RepositoryErrorKind
{
    /// <summary>The storage failed.</summary>
    Io,

    /// <summary>The storage is full, or a quota is used up.</summary>
    NoSpace,

    /// <summary>No repository, snapshot, disk or file has that name.</summary>
    NotFound,

    /// <summary>There is a repository already, or the name is taken.</summary>
    AlreadyExists,

    /// <summary>A prefix fits more than one snapshot.</summary>
    Ambiguous,

    /// <summary>No key of the repository opens with this password.</summary>
    WrongPassword,

    /// <summary>Bytes of the repository contradict their name, their authentication code or the format.</summary>
    Damaged,

    /// <summary>A blob that a snapshot or a parent needs is not in the repository.</summary>
    MissingBlob,

    /// <summary>The repository uses something that is not supported.</summary>
    NotSupported,

    /// <summary>Another program holds a lock that excludes this operation.</summary>
    Locked,

    /// <summary>Our own lock is gone or too old: another program may have removed what we rely on.</summary>
    LockLost,

    /// <summary>A disk still has chunks of which nothing was decided, or work is still under way.</summary>
    Incomplete,

    /// <summary>An argument makes no sense here.</summary>
    Invalid,
}
