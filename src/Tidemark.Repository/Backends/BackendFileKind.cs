namespace Tidemark.Repository.Backends;

/// <summary>The kinds of files in a repository (restic, doc/design.rst, "Repository Layout").</summary>
public enum BackendFileKind
{
    /// <summary>The one file <c>config</c>.</summary>
    Config,

    /// <summary>A key file: the master key under a password.</summary>
    Key,

    /// <summary>A lock.</summary>
    Lock,

    /// <summary>A snapshot.</summary>
    Snapshot,

    /// <summary>An index file.</summary>
    Index,

    /// <summary>A pack: blobs and a header.</summary>
    Pack,
}
