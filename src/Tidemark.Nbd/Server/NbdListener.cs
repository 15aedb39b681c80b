using System.Net;
using System.Net.Sockets;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server;

/// <summary>One listening socket; a unix socket's file is removed with it.</summary>
internal sealed class NbdListener : IDisposable
{
    private const int Backlog = 512;

    private readonly Socket _socket;
    private bool _ownsFile = true;
    private bool _disposed;

    private NbdListener(Socket socket, NbdEndPoint endPoint)
    {
        _socket = socket;
        EndPoint = endPoint;
    }

    /// <summary>Where it listens, with the port that was chosen.</summary>
    internal NbdEndPoint EndPoint { get; }

    /// <summary>The loop that accepts.</summary>
    internal Task Accepting { get; set; } = Task.CompletedTask;

    /// <summary>Opens a listening socket.</summary>
    internal static async ValueTask<NbdListener> OpenAsync(NbdEndPoint endPoint, CancellationToken cancellationToken)
    {
        try
        {
            return endPoint.SocketPath is { } path
                ? OpenUnix(endPoint, path)
                : await OpenTcpAsync(endPoint, cancellationToken).ConfigureAwait(false);
        }
        catch (SocketException exception)
        {
            var kind =
                exception.SocketErrorCode == SocketError.AddressAlreadyInUse ? BlockErrorKind.Busy : BlockErrorKind.Io;
            throw new NbdException(
                kind, $"cannot listen on {endPoint}: {SocketFailure.OfListening(endPoint, exception)}", exception);
        }
    }

    /// <summary>Listens on a socket that was opened by somebody else, who also removes its file.</summary>
    internal static NbdListener ForDescriptor(int descriptor)
    {
        var socket = SocketActivation.Take(descriptor);
        try
        {
            var endPoint = socket.LocalEndPoint switch
            {
                IPEndPoint address => NbdEndPoint.ForTcp(address.Address.ToString(), address.Port),
                UnixDomainSocketEndPoint address when address.ToString() is { Length: > 0 } path =>
                    NbdEndPoint.ForUnix(path),
                var other => throw new NbdException(
                    BlockErrorKind.NotSupported,
                    $"descriptor {descriptor} listens on '{other}', which is neither TCP nor a unix socket's path"),
            };
            return new NbdListener(socket, endPoint) { _ownsFile = false };
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>Waits for a client.</summary>
    internal async ValueTask<NbdTransport> AcceptAsync(CancellationToken cancellationToken)
    {
        // The listening socket is asynchronous; the accepted one is a fresh descriptor, and blocking.
        var socket = await _socket.AcceptAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            return new SocketTransport(socket, EndPoint.IsUnix ? "the client" : $"the client {socket.RemoteEndPoint}");
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        _socket.Dispose();
        if (_ownsFile && EndPoint.SocketPath is { } path)
        {
            try
            {
                File.Delete(path);
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                // The directory may be gone; the socket is closed in any case.
            }
        }
    }

    private static NbdListener OpenUnix(NbdEndPoint endPoint, string path)
    {
        RemoveStale(endPoint, path);
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            socket.Bind(new UnixDomainSocketEndPoint(path));
            socket.Listen(Backlog);
            return new NbdListener(socket, endPoint);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    // A server that was killed leaves its socket's file. It is removed only if nobody answers there.
    private static void RemoveStale(NbdEndPoint endPoint, string path)
    {
        if (!LinuxSocket.IsSocket(path))
        {
            return;
        }

        using var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            probe.Connect(new UnixDomainSocketEndPoint(path));
        }
        catch (SocketException exception) when (exception.SocketErrorCode == SocketError.ConnectionRefused)
        {
            File.Delete(path);
            return;
        }

        throw new NbdException(BlockErrorKind.Busy, $"cannot listen on {endPoint}: another server listens there");
    }

    private static async ValueTask<NbdListener> OpenTcpAsync(NbdEndPoint endPoint, CancellationToken cancellationToken)
    {
        var addresses = IPAddress.TryParse(endPoint.Host, out var literal)
            ? [literal]
            : await Dns.GetHostAddressesAsync(endPoint.Host!, cancellationToken).ConfigureAwait(false);
        var address = addresses.FirstOrDefault(candidate => candidate.AddressFamily == AddressFamily.InterNetwork)
            ?? addresses.FirstOrDefault()
            ?? throw new NbdException(BlockErrorKind.NotFound, $"'{endPoint.Host}' has no address");
        var socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            socket.Bind(new IPEndPoint(address, endPoint.Port));
            socket.Listen(Backlog);
            var port = ((IPEndPoint)socket.LocalEndPoint!).Port;
            return new NbdListener(socket, NbdEndPoint.ForTcp(endPoint.Host!, port));
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}
