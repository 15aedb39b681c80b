namespace Tidemark.Backup.Definitions;

/// <summary>Where the exports of a pull are served: the element <c>server</c>.</summary>
public sealed record BackupServer
{
    /// <summary>How clients reach it.</summary>
    public ServerTransport Transport { get; init; } = ServerTransport.Tcp;

    /// <summary>The host's name or address (TCP).</summary>
    public string? Host { get; init; }

    /// <summary>The port (TCP); null when none was given.</summary>
    public int? Port { get; init; }

    /// <summary>The socket's full path (unix).</summary>
    public string? Socket { get; init; }

    /// <summary>The name of the group of passed file descriptors (fd).</summary>
    public string? FdGroup { get; init; }

    /// <summary>Whether clients must use TLS; null when nothing was said, which is no.</summary>
    public bool? Tls { get; init; }
}
