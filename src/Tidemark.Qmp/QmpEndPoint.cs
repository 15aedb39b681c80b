using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace Tidemark.Qmp;

/// <summary>Where a monitor listens: a unix socket, or a host and a port.</summary>
public sealed record QmpEndPoint
{
    /// <summary>The prefix of a monitor among the sources of the command line.</summary>
    public const string Prefix = "qmp:";

    // The kernel's sun_path holds 108 bytes with its terminating zero.
    private const int MaximumPathLength = 107;

    private QmpEndPoint(string? path, string? host, int port)
    {
        Path = path;
        Host = host;
        Port = port;
    }

    /// <summary>The unix socket's path, or null.</summary>
    public string? Path { get; }

    /// <summary>The host's name or address, or null.</summary>
    public string? Host { get; }

    /// <summary>The TCP port; 0 with a unix socket.</summary>
    public int Port { get; }

    /// <summary>A monitor on a unix socket.</summary>
    /// <exception cref="QmpException">The path is empty or too long for a socket.</exception>
    public static QmpEndPoint Unix(string path)
    {
        var length = System.Text.Encoding.UTF8.GetByteCount(path);
        return length is > 0 and <= MaximumPathLength
            ? new QmpEndPoint(path, null, 0)
            : throw new QmpException(
                QmpException.GenericError,
                $"'{path}' cannot be a socket's path: it has {length} bytes, 1 to {MaximumPathLength} are possible");
    }

    /// <summary>A monitor on a TCP port.</summary>
    /// <exception cref="QmpException">The port is none.</exception>
    public static QmpEndPoint Tcp(string host, int port) =>
        port is > 0 and <= IPEndPoint.MaxPort
            ? new QmpEndPoint(null, host, port)
            : throw new QmpException(QmpException.GenericError, $"{port} is no TCP port");

    /// <summary><c>qmp:PATH</c> or <c>qmp:HOST:PORT</c>, an IPv6 address in brackets.</summary>
    public override string ToString()
    {
        var host = Host?.Contains(':', StringComparison.Ordinal) == true ? $"[{Host}]" : Host;
        return Path is not null ? Prefix + Path : string.Create(CultureInfo.InvariantCulture, $"{Prefix}{host}:{Port}");
    }

    /// <summary>Opens a connection to the socket. No QMP is spoken yet.</summary>
    internal async Task<Socket> ConnectAsync(CancellationToken cancellationToken)
    {
        var socket = Path is not null
            ? new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified)
            : new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            EndPoint target = Path is not null ? new UnixDomainSocketEndPoint(Path) : new DnsEndPoint(Host!, Port);
            await socket.ConnectAsync(target, cancellationToken).ConfigureAwait(false);
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}
