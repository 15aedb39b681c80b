using System.Globalization;

namespace Tidemark.Nbd.Protocol;

/// <summary>Where an NBD server listens: the path of a unix socket, or a host and a port.</summary>
public sealed record NbdEndPoint
{
    /// <summary>The longest path of a unix socket in UTF-8 bytes that Linux takes.</summary>
    public const int MaximumSocketPathLength = 107;

    private NbdEndPoint()
    {
    }

    /// <summary>The path of the unix socket; null for TCP.</summary>
    public string? SocketPath { get; private init; }

    /// <summary>The host name or address; null for a unix socket.</summary>
    public string? Host { get; private init; }

    /// <summary>The TCP port; 0 asks a server to choose one; 0 also for a unix socket.</summary>
    public int Port { get; private init; }

    /// <summary>Whether it is a unix socket.</summary>
    public bool IsUnix => SocketPath is not null;

    /// <summary>A unix socket.</summary>
    /// <exception cref="NbdException">The path is empty, has a NUL, or is longer than Linux takes.</exception>
    public static NbdEndPoint ForUnix(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        var length = System.Text.Encoding.UTF8.GetByteCount(path);
        if (length is 0 or > MaximumSocketPathLength || path.Contains('\0'))
        {
            throw new NbdException(
                Blocks.Nodes.BlockErrorKind.Invalid,
                $"'{path}' cannot be a unix socket's path: it has {length} bytes, 1 to {MaximumSocketPathLength} are "
                + "possible");
        }

        return new NbdEndPoint { SocketPath = path };
    }

    /// <summary>A TCP end point.</summary>
    /// <param name="host">A name or an address; IPv6 without brackets.</param>
    /// <param name="port">The port, 10809 if none is agreed on.</param>
    public static NbdEndPoint ForTcp(string host, int port = NbdLimits.DefaultPort)
    {
        ArgumentException.ThrowIfNullOrEmpty(host);
        ArgumentOutOfRangeException.ThrowIfNegative(port);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(port, ushort.MaxValue);
        return new NbdEndPoint { Host = host, Port = port };
    }

    /// <inheritdoc/>
    public override string ToString() =>
        SocketPath
        ?? string.Create(CultureInfo.InvariantCulture, $"{(Host!.Contains(':') ? $"[{Host}]" : Host)}:{Port}");
}
