namespace Tidemark.Backup.Definitions;

/// <summary>How clients reach the NBD server of a pull: the attribute <c>transport</c>.</summary>
public enum ServerTransport
{
    /// <summary>A host's name and a port; the default.</summary>
    Tcp,

    /// <summary>A socket in the file system.</summary>
    Unix,

    /// <summary>A listening socket that the caller passed.</summary>
    Fd,
}
