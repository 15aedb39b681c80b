using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Client;

// Connecting, and the life of the connection's thread.
public sealed partial class NbdClient
{
    /// <summary>Connects to a server and enters an export.</summary>
    /// <param name="endPoint">The server.</param>
    /// <param name="options">The export and what else is wanted.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="NbdException">Nobody listens, the deadline passed, the peer does not speak the protocol, or the
    /// server refuses the export.</exception>
    public static Task<NbdClient> ConnectAsync(
        NbdEndPoint endPoint, NbdClientOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(endPoint);
        options ??= new NbdClientOptions();
        Check(options);
        return ClientConnector.RunAsync<NbdClient>(
            endPoint,
            options,
            (transport, connected) => Run(transport, options, HostOf(endPoint), connected),
            cancellationToken);
    }

    /// <summary>Connects to the server of a URI and enters its export.</summary>
    /// <param name="uri">The server, the export, and whether TLS is used; they replace those of the options.</param>
    /// <param name="options">What else is wanted.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="NbdException">As above; also a certificate that cannot be used.</exception>
    public static Task<NbdClient> ConnectAsync(
        NbdUri uri, NbdClientOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(uri);
        return ConnectAsync(uri.EndPoint, NbdClientOptions.ForUri(uri, options), cancellationToken);
    }

    /// <summary>Asks a server for the list of its exports.</summary>
    /// <exception cref="NbdException">As when connecting; also when the server keeps its list to itself.</exception>
    public static Task<IReadOnlyList<NbdExportInfo>> ListExportsAsync(
        NbdEndPoint endPoint, NbdClientOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(endPoint);
        var settings = options ?? new NbdClientOptions();
        return ClientConnector.RunAsync<IReadOnlyList<NbdExportInfo>>(
            endPoint,
            settings,
            (transport, listed) => listed.TrySetResult(AskAndLeave(
                transport, settings, HostOf(endPoint), static handshake => handshake.List())),
            cancellationToken);
    }

    /// <summary>Asks a server what it says of itself and of its exports, without entering one.</summary>
    /// <param name="endPoint">The server.</param>
    /// <param name="options">How to connect; names the export.</param>
    /// <param name="allExports">Whether all exports of the server's list are described, rather than the one of the
    /// options.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="NbdException">As when connecting; also when the server has no list, or does not tell of
    /// exports.</exception>
    public static Task<NbdServerDescription> DescribeAsync(
        NbdEndPoint endPoint,
        NbdClientOptions? options = null,
        bool allExports = false,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(endPoint);
        var settings = options ?? new NbdClientOptions();
        Check(settings);
        return ClientConnector.RunAsync<NbdServerDescription>(
            endPoint,
            settings,
            (transport, described) => described.TrySetResult(AskAndLeave(
                transport,
                settings,
                HostOf(endPoint),
                handshake => handshake.Describe(allExports ? null : settings.ExportName))),
            cancellationToken);
    }

    /// <summary>Enters an export over a connection that was made in
    /// some other way; the transport is the client's.</summary>
    internal static Task<NbdClient> ConnectAsync(NbdTransport transport, NbdClientOptions options)
    {
        Check(options);
        var connected = new TaskCompletionSource<NbdClient>(TaskCreationOptions.RunContinuationsAsynchronously);
        new Thread(() =>
        {
            try
            {
                Run(transport, options, "localhost", connected);
            }
            catch (Exception exception)
            {
                connected.TrySetException(exception as NbdException ?? Lost(exception));
            }
        })
        {
            IsBackground = true,
            Name = "nbd client",
        }.Start();
        return connected.Task;
    }

    private static string HostOf(NbdEndPoint endPoint) => endPoint.Host ?? "localhost";

    private static void Check(NbdClientOptions options)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaximumRequests, 1);
        foreach (var text in options.MetaContexts.Prepend(options.ExportName))
        {
            if (text.Contains('\0') || System.Text.Encoding.UTF8.GetByteCount(text) > NbdLimits.MaximumStringLength)
            {
                throw new NbdException(
                    BlockErrorKind.BadName,
                    $"names of exports and contexts have at most {NbdLimits.MaximumStringLength} bytes and no NUL");
            }
        }
    }

    /// <summary>A connection's thread: the handshake, then replies until the connection ends.</summary>
    internal static void Run(
        NbdTransport transport, NbdClientOptions options, string host, TaskCompletionSource<NbdClient> connected)
    {
        NbdClient client;
        var receiver = new ReceiveBuffer(transport, ReadAhead);
        var handshake = new ClientHandshake(transport, receiver, options, host);
        try
        {
            var export = Negotiate(handshake, static asked => asked.Enter());
            client = new NbdClient(handshake.Transport, receiver, export, options);
        }
        catch
        {
            handshake.Transport.Dispose();
            throw;
        }

        connected.TrySetResult(client);
        client.RunReceive();
    }

    // The handshake. Where it ends without an export it ends with ABORT, if the server waits for an option.
    private static T Negotiate<T>(ClientHandshake handshake, Func<ClientHandshake, T> body)
    {
        try
        {
            handshake.Greet();
            return body(handshake);
        }
        catch (NbdException)
        {
            handshake.Abort();
            throw;
        }
    }

    // A handshake that only asks.
    private static T AskAndLeave<T>(
        NbdTransport transport, NbdClientOptions options, string host, Func<ClientHandshake, T> question)
    {
        var handshake = new ClientHandshake(transport, new ReceiveBuffer(transport, ReadAhead), options, host);
        try
        {
            return Negotiate(handshake, asked =>
            {
                var answer = question(asked);
                asked.Abort();
                return answer;
            });
        }
        finally
        {
            handshake.Transport.Dispose();
        }
    }

    private void RunReceive()
    {
        try
        {
            while (ReceiveReply())
            {
            }

            IsSettled = true;
            Fail(new NbdException(BlockErrorKind.Io, $"{_transport.Peer} closed the connection"));
        }
        catch (Exception exception)
        {
            Fail(exception);
            IsSettled = exception switch
            {
                EndOfStreamException => true,
                IOException => _transport.IsLocal,
                _ => DrainToEnd(),
            };
        }

        List<PendingRequest> lost = [];
        NbdException failure;
        lock (_gate)
        {
            // Nobody registers any more: the failure is set. Nobody else completes: this loop was the only one.
            _disposed = true;
            _abandonTimer?.Dispose();
            _endTimer?.Dispose();
            _deadlineTimer?.Dispose();
            IsSettled &= !_aborted && (!_sendFailed || _transport.IsLocal);
            failure = Lost(_failure!);
            foreach (var place in _places)
            {
                if (place.IsRegistered)
                {
                    place.IsRegistered = false;
                    _inFlight--;
                    lost.Add(place);
                }
            }
        }

        foreach (var place in lost)
        {
            place.Complete(failure);
        }

        // A caller may still be in Send; it holds the send lock for as long as it uses the socket.
        lock (_sendGate)
        {
            _transport.Dispose();
        }

        _ended.TrySetResult();
    }

    // A reset is the end of a server on this machine, whose kernel made it; from a network it may be anybody's. One
    // that a send has met looks like an end to the receiver, so there it counts as unknown too.
    // What the server still says cannot be understood any more; that it has ended can. True when it has.
    private bool DrainToEnd()
    {
        var scratch = new byte[ReadAhead];
        try
        {
            while (_transport.Receive(scratch) > 0)
            {
            }

            return true;
        }
        catch (Exception exception) when (exception is IOException or ObjectDisposedException)
        {
            return _transport.IsLocal;
        }
    }
}
