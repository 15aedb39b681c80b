using System.Net.Sockets;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server;

/// <summary>
/// Serves disks under names to NBD clients over unix and TCP sockets: fixed newstyle, structured replies, multiple
/// connections, metadata contexts (doc/proto.md of the NBD project).
/// </summary>
/// <remarks>
/// <para>Thread-safe. Exports come and go while clients are connected. A request that fails on its node is answered
/// with an error and the connection lives on; a client that breaks the protocol loses its connection and nothing
/// else happens.</para>
/// <para>A removed export, and a stopped server, have no request under way: whatever a client sent either has reached
/// the node before, or never will.</para>
/// </remarks>
public sealed class NbdServer : IAsyncDisposable
{
    private readonly Lock _gate = new();
    private readonly CancellationTokenSource _stop = new();
    private readonly SemaphoreSlim _places;
    private readonly TaskCompletionSource _stoppedSource = new(TaskCreationOptions.RunContinuationsAsynchronously);

    // Guarded by _gate.
    private readonly Dictionary<string, NbdExport> _exports = new(StringComparer.Ordinal);
    private readonly List<NbdExport> _order = [];
    private readonly HashSet<ServerConnection> _connections = [];
    private readonly List<NbdListener> _listeners = [];
    private readonly HashSet<NbdExport> _closing = [];
    private Task? _stopped;
    private bool _served;

    private volatile bool _stopping;

    /// <summary>Creates a server that does not listen yet.</summary>
    public NbdServer(NbdServerOptions? options = null)
    {
        Options = options ?? new NbdServerOptions();
        _places = new SemaphoreSlim(Options.MaximumConnections);
        Buffers = new ServerBuffers(Options.BytesInFlight);
        Budget = new ByteBudget(Options.BytesInFlight);
    }

    /// <summary>Raised once for each export when it is gone: no client is connected, its backend is disposed. Handlers
    /// run on the thread that removes the export, and must not throw.</summary>
    public event Action<NbdExport>? ExportRemoved;

    /// <summary>The limits.</summary>
    public NbdServerOptions Options { get; }

    /// <summary>The exports in the order in which they were added: a copy.</summary>
    public IReadOnlyList<NbdExport> Exports
    {
        get
        {
            lock (_gate)
            {
                return [.. _order];
            }
        }
    }

    /// <summary>Where the server listens; a port that was left open shows as the one chosen. A copy.</summary>
    public IReadOnlyList<NbdEndPoint> EndPoints
    {
        get
        {
            lock (_gate)
            {
                return _listeners.ConvertAll(listener => listener.EndPoint);
            }
        }
    }

    /// <summary>Ends when the server has stopped, however that began: <see cref="StopAsync"/> or
    /// <see cref="NbdServerOptions.StopAfterLastClient"/>.</summary>
    public Task Stopped => _stoppedSource.Task;

    /// <summary>How many clients are connected at this moment, those in the handshake included.</summary>
    public int ConnectionCount
    {
        get
        {
            lock (_gate)
            {
                return _connections.Count;
            }
        }
    }

    /// <summary>The memory of the requests of all connections.</summary>
    internal ServerBuffers Buffers { get; }

    /// <summary>The limit on it.</summary>
    internal ByteBudget Budget { get; }

    /// <summary>Whether the server is stopping: options are refused, no new client is let in.</summary>
    internal bool IsStopping => _stopping;

    /// <summary>
    /// Begins to listen. A unix socket that nobody serves any more is replaced; one that is served, or a file of
    /// another kind, is an error. The socket's file is removed when the server stops.
    /// </summary>
    /// <returns>Where clients can connect.</returns>
    /// <exception cref="NbdException">The address is in use, not there,
    /// or not allowed; or the server has stopped.</exception>
    public async ValueTask<NbdEndPoint> ListenAsync(NbdEndPoint endPoint, CancellationToken cancellationToken = default)
    {
        ThrowIfStopping();
        return Listen(await NbdListener.OpenAsync(endPoint, cancellationToken).ConfigureAwait(false));
    }

    private NbdEndPoint Listen(NbdListener listener)
    {
        lock (_gate)
        {
            if (!_stopping)
            {
                _listeners.Add(listener);
                listener.Accepting = RunAcceptAsync(listener);
                return listener.EndPoint;
            }
        }

        listener.Dispose();
        throw HasStopped();
    }

    /// <summary>
    /// Begins to listen on the sockets that this process was started with (<see cref="SocketActivation"/>). Their files
    /// are not removed when the server stops. To be called once, before anything that might open descriptors.
    /// </summary>
    /// <returns>Where clients can connect.</returns>
    /// <exception cref="NbdException">There are none, or one of them does not listen; or the server has
    /// stopped.</exception>
    public IReadOnlyList<NbdEndPoint> ListenActivated()
    {
        ThrowIfStopping();
        var count = SocketActivation.Count;
        if (count == 0)
        {
            throw new NbdException(
                BlockErrorKind.Invalid, "this process was not started with sockets to listen on (LISTEN_FDS)");
        }

        List<NbdEndPoint> endPoints = [];
        for (var index = 0; index < count; index++)
        {
            endPoints.Add(Listen(NbdListener.ForDescriptor(SocketActivation.FirstDescriptor + index)));
        }

        SocketActivation.Forget();
        return endPoints;
    }

    /// <summary>Offers an export. Its backend belongs to the export from here on.</summary>
    /// <exception cref="NbdException">The name is taken, a bitmap is in use, or the server has stopped. The backend
    /// stays the caller's.</exception>
    public void AddExport(NbdExport export)
    {
        ThrowIfStopping();
        lock (_gate)
        {
            if (_exports.ContainsKey(export.Name))
            {
                throw new NbdException(BlockErrorKind.BadName, $"NBD server already has export named '{export.Name}'");
            }

            export.Open();
            _exports.Add(export.Name, export);
            _order.Add(export);
        }
    }

    /// <summary>The export of a name that clients may enter, or null.</summary>
    public NbdExport? FindExport(string name)
    {
        lock (_gate)
        {
            return _exports.GetValueOrDefault(name);
        }
    }

    /// <summary>
    /// Takes an export away and waits until its clients are gone, their requests have finished and its backend is
    /// disposed.
    /// </summary>
    /// <param name="name">The export.</param>
    /// <param name="mode">What becomes of its clients.</param>
    /// <param name="cancellationToken">Ends the waiting, not the removal.</param>
    /// <exception cref="NbdException">There is no such export, or (safe mode) it has clients.</exception>
    public async Task RemoveExportAsync(
        string name, NbdExportRemoval mode = NbdExportRemoval.Safe, CancellationToken cancellationToken = default)
    {
        NbdExport export;
        Task closed;
        lock (_gate)
        {
            export = _exports.GetValueOrDefault(name)
                ?? throw new NbdException(BlockErrorKind.NotFound, $"Export '{name}' is not found");
            closed = export.CloseAsync(mode);
            _exports.Remove(name);
            _order.Remove(export);
            _closing.Add(export);
        }

        await FinishRemovalAsync(export, closed).WaitAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>
    /// Stops: no new client, no new request; requests under way finish and their replies leave; then connections close,
    /// exports are removed, socket files are deleted. A client that holds this up longer than
    /// <see cref="NbdServerOptions.StopTimeout"/> is cut off.
    /// </summary>
    public Task StopAsync()
    {
        lock (_gate)
        {
            return _stopped ??= RunStopAsync();
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await StopAsync().ConfigureAwait(false);
        _stop.Dispose();
        _places.Dispose();
        Buffers.Dispose();
    }

    /// <summary>Serves a connection that was made in some other way.</summary>
    internal ServerConnection Serve(NbdTransport transport)
    {
        var connection = Enter(transport);
        connection.Start();
        return connection;
    }

    /// <summary>Serves a client that arrived in some other way on the calling thread; with one worker a connection,
    /// returns when the client has left.</summary>
    internal void ServeHere(NbdTransport transport) => Enter(transport).ServeHere();

    private ServerConnection Enter(NbdTransport transport)
    {
        var connection = new ServerConnection(this, transport);
        lock (_gate)
        {
            ThrowIfStopping();
            _connections.Add(connection);
        }

        return connection;
    }

    /// <summary>A connection has ended.</summary>
    internal void Leave(ServerConnection connection)
    {
        bool wasLast;
        lock (_gate)
        {
            if (_connections.Remove(connection) && connection.HoldsPlace)
            {
                // Within the lock: a server that stops sees the connection either here or quite gone.
                _places.Release();
            }

            _served |= connection.HasEntered;
            wasLast = _served && _connections.Count == 0;
        }

        if (wasLast && Options.StopAfterLastClient)
        {
            _ = StopAsync();
        }
    }

    private async Task RunAcceptAsync(NbdListener listener)
    {
        await Task.Yield();
        while (!_stopping)
        {
            try
            {
                await _places.WaitAsync(_stop.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                return;
            }

            if (await AcceptAsync(listener).ConfigureAwait(false) is not { } transport || !TryServe(transport))
            {
                _places.Release();
            }
        }
    }

    private bool TryServe(NbdTransport transport)
    {
        var connection = new ServerConnection(this, transport) { HoldsPlace = true };
        lock (_gate)
        {
            if (_stopping)
            {
                transport.Dispose();
                return false;
            }

            _connections.Add(connection);
        }

        try
        {
            connection.Start();
        }
        catch (Exception exception) when (exception is OutOfMemoryException or ThreadStartException)
        {
            // No thread to serve it: this client is turned away, the place is given back by Leave.
            connection.Finish();
        }

        return true;
    }

    private async Task<NbdTransport?> AcceptAsync(NbdListener listener)
    {
        try
        {
            return await listener.AcceptAsync(_stop.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            return null;
        }
        catch (Exception exception) when (exception is SocketException or IOException or ObjectDisposedException)
        {
            // The client was gone before it was accepted, or descriptors ran out: neither may end the listener, and
            // the second would spin without a pause.
            if (!_stopping)
            {
                await Task.Delay(TimeSpan.FromMilliseconds(50), Options.TimeProvider).ConfigureAwait(false);
            }

            return null;
        }
    }

    private async Task FinishRemovalAsync(NbdExport export, Task closed)
    {
        await closed.ConfigureAwait(false);
        export.Release();
        lock (_gate)
        {
            _closing.Remove(export);
        }

        ExportRemoved?.Invoke(export);
    }

    private async Task RunStopAsync()
    {
        try
        {
            await StopPartsAsync().ConfigureAwait(false);
            _stoppedSource.TrySetResult();
        }
        catch (Exception exception)
        {
            _stoppedSource.TrySetException(exception);
            throw;
        }
    }

    private async Task StopPartsAsync()
    {
        _stopping = true;
        await Task.Yield();
        await _stop.CancelAsync().ConfigureAwait(false);
        NbdListener[] listeners;
        ServerConnection[] connections;
        lock (_gate)
        {
            listeners = [.. _listeners];
            connections = [.. _connections];
            _listeners.Clear();
        }

        foreach (var listener in listeners)
        {
            listener.Dispose();
            await listener.Accepting.ConfigureAwait(false);
        }

        foreach (var connection in connections)
        {
            connection.Stop();
        }

        var ended = Task.WhenAll(connections.Select(connection => connection.Completed));
        try
        {
            await ended.WaitAsync(Options.StopTimeout, Options.TimeProvider).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            foreach (var connection in connections)
            {
                connection.Abort();
            }

            await ended.ConfigureAwait(false);
        }

        await RemoveAllAsync().ConfigureAwait(false);
    }

    private async Task RemoveAllAsync()
    {
        foreach (var export in Exports)
        {
            try
            {
                await RemoveExportAsync(export.Name, NbdExportRemoval.Hard).ConfigureAwait(false);
            }
            catch (NbdException exception) when (exception.Kind == BlockErrorKind.NotFound)
            {
                // Somebody else removes it at the same time.
            }
        }
    }

    private void ThrowIfStopping()
    {
        if (_stopping)
        {
            throw HasStopped();
        }
    }

    private static NbdException HasStopped() => new(BlockErrorKind.Invalid, "the NBD server has stopped");
}
