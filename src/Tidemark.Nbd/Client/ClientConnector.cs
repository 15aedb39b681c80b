using System.Net;
using System.Net.Sockets;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Client;

/// <summary>Connects on a thread of its own, within a deadline, and
/// lets that thread go on with the connection.</summary>
/// <remarks>Everything is blocking, so that the socket stays a blocking one; the deadline and the caller's token close
/// it under the thread.</remarks>
internal sealed class ClientConnector
{
    private const int ThreadStackSize = 512 * 1024;

    private readonly NbdEndPoint _endPoint;
    private readonly Lock _gate = new();

    // Guarded by _gate.
    private Socket? _socket;
    private NbdTransport? _transport;
    private NbdException? _abandoned;

    private ClientConnector(NbdEndPoint endPoint) => _endPoint = endPoint;

    /// <summary>Connects and runs <paramref name="body"/> on a new
    /// thread; returns when the body sets its result.</summary>
    /// <param name="endPoint">The server.</param>
    /// <param name="options">For the deadline.</param>
    /// <param name="body">Runs on the thread; owns the transport. What it
    /// throws before the result is set is thrown here.</param>
    /// <param name="cancellationToken">Gives up.</param>
    internal static async Task<T> RunAsync<T>(
        NbdEndPoint endPoint,
        NbdClientOptions options,
        Action<NbdTransport, TaskCompletionSource<T>> body,
        CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var connector = new ClientConnector(endPoint);
        var addresses = await connector.ResolveAsync(cancellationToken).ConfigureAwait(false);
        var result = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        new Thread(() => connector.Run(addresses, body, result), ThreadStackSize)
        {
            IsBackground = true,
            Name = "nbd client",
        }.Start();

        using var timer = options.TimeProvider.CreateTimer(
            _ => connector.Abandon($"no answer within {options.ConnectTimeout.TotalSeconds} s"),
            null,
            options.ConnectTimeout,
            Timeout.InfiniteTimeSpan);
        using var registration = cancellationToken.UnsafeRegister(
            static connector => ((ClientConnector)connector!).Abandon("cancelled"), connector);
        try
        {
            return await result.Task.ConfigureAwait(false);
        }
        catch (NbdException exception)
        {
            cancellationToken.ThrowIfCancellationRequested();
            throw connector._abandoned ?? exception;
        }
    }

    private void Run<T>(
        IReadOnlyList<EndPoint> addresses, Action<NbdTransport, TaskCompletionSource<T>> body,
        TaskCompletionSource<T> result)
    {
        try
        {
            body(Connect(addresses), result);
        }
        catch (NbdException exception)
        {
            result.TrySetException(new NbdException(
                exception.Kind, $"cannot use the NBD server at {_endPoint}: {exception.Message}", exception));
        }
        catch (Exception exception)
        {
            var why = exception is SocketException failure
                ? SocketFailure.OfConnecting(_endPoint, failure)
                : exception.Message;
            result.TrySetException(new NbdException(
                KindOf(exception), $"cannot connect to the NBD server at {_endPoint}: {why}", exception));
        }
    }

    private static BlockErrorKind KindOf(Exception exception) => exception is SocketException socketException
        && socketException.SocketErrorCode is SocketError.AddressNotAvailable or SocketError.HostNotFound
            ? BlockErrorKind.NotFound
            : BlockErrorKind.Io;

    private NbdTransport Connect(IReadOnlyList<EndPoint> addresses)
    {
        for (var index = 0; ; index++)
        {
            var address = addresses[index];
            var socket = new Socket(
                address.AddressFamily,
                SocketType.Stream,
                address is UnixDomainSocketEndPoint ? ProtocolType.Unspecified : ProtocolType.Tcp);
            try
            {
                Hold(socket);
                socket.Connect(address);
                return Hold(new SocketTransport(socket, $"the server at {_endPoint}"));
            }
            catch (SocketException) when (index + 1 < addresses.Count && _abandoned is null)
            {
                // The next address of the same name.
                socket.Dispose();
            }
            catch
            {
                socket.Dispose();
                throw;
            }
        }
    }

    private void Hold(Socket socket)
    {
        lock (_gate)
        {
            if (_abandoned is not null)
            {
                throw _abandoned;
            }

            _socket = socket;
        }
    }

    private SocketTransport Hold(SocketTransport transport)
    {
        lock (_gate)
        {
            if (_abandoned is not null)
            {
                throw _abandoned;
            }

            _transport = transport;
            return transport;
        }
    }

    private void Abandon(string why)
    {
        lock (_gate)
        {
            _abandoned
                ??= new NbdException(BlockErrorKind.Io, $"cannot connect to the NBD server at {_endPoint}: {why}");
            if (_transport is not null)
            {
                _transport.Abort();
            }
            else
            {
                _socket?.Dispose();
            }
        }
    }

    private async ValueTask<IReadOnlyList<EndPoint>> ResolveAsync(CancellationToken cancellationToken)
    {
        if (_endPoint.SocketPath is { } path)
        {
            return [new UnixDomainSocketEndPoint(path)];
        }

        if (IPAddress.TryParse(_endPoint.Host, out var literal))
        {
            return [new IPEndPoint(literal, _endPoint.Port)];
        }

        try
        {
            var found = await Dns.GetHostAddressesAsync(_endPoint.Host!, cancellationToken).ConfigureAwait(false);
            return found.Length > 0
                ? [.. found.Select(address => new IPEndPoint(address, _endPoint.Port))]
                : throw new NbdException(BlockErrorKind.NotFound, $"'{_endPoint.Host}' has no address");
        }
        catch (SocketException exception)
        {
            throw new NbdException(
                BlockErrorKind.NotFound, $"'{_endPoint.Host}' has no address: {exception.Message}", exception);
        }
    }
}
