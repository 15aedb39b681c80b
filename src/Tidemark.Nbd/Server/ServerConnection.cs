using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server;

/// <summary>One client from its arrival to its end: a thread for the
/// handshake, which then becomes the first worker.</summary>
internal sealed class ServerConnection
{
    /// <summary>Enough for deep chains of nodes; a thousand idle clients must stay cheap.</summary>
    internal const int ThreadStackSize = 512 * 1024;

    /// <summary>Room for several small requests, so that one system call brings many.</summary>
    private const int ReadAhead = 32 * 1024;

    private readonly NbdServer _server;
    private NbdTransport _transport;
    private readonly ReceiveBuffer _receiver;
    private readonly TaskCompletionSource _completed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _gate = new();

    // Guarded by _gate.
    private Transmission? _transmission;
    private bool _stopping;
    private bool _disposed;

    private volatile NbdExport? _export;

    internal ServerConnection(NbdServer server, NbdTransport transport)
    {
        _server = server;
        _transport = transport;
        _receiver = new ReceiveBuffer(transport, ReadAhead);
    }

    /// <summary>Ends when the last request of the client has finished and its connection is closed.</summary>
    internal Task Completed => _completed.Task;

    /// <summary>Whether the connection holds one of the places that the server limits.</summary>
    internal bool HoldsPlace { get; init; }

    /// <summary>Whether the client has entered an export.</summary>
    internal bool HasEntered => _export is not null;

    /// <summary>Begins to serve.</summary>
    internal void Start() =>
        new Thread(Run, ThreadStackSize) { IsBackground = true, Name = "nbd server" }.Start();

    /// <summary>Serves on the calling thread, to the end where one worker is enough.</summary>
    internal void ServeHere() => Run();

    /// <summary>Cuts the client off. Requests that its node is working on still finish.</summary>
    internal void Abort()
    {
        lock (_gate)
        {
            if (!_disposed)
            {
                _transport.Abort();
            }
        }
    }

    /// <summary>Accepts no further request; those received are answered, then the connection closes.</summary>
    internal void Stop()
    {
        lock (_gate)
        {
            _stopping = true;
            _transmission?.Stop();
            if (!_disposed)
            {
                _transport.EndReceiving();
            }
        }
    }

    /// <summary>The connection goes on over another transport, which owns the old one.</summary>
    internal void Switch(NbdTransport transport)
    {
        lock (_gate)
        {
            _transport = transport;
        }
    }

    /// <summary>Enters an export; false when it is being removed.</summary>
    internal bool TryAttach(NbdExport export)
    {
        if (!export.TryAttach(this))
        {
            return false;
        }

        _export = export;
        return true;
    }

    /// <summary>The last worker has left.</summary>
    internal void Finish()
    {
        lock (_gate)
        {
            _disposed = true;
            _transport.EndSession();
            _transport.Dispose();
        }

        _export?.Detach(this);
        _server.Leave(this);
        _completed.TrySetResult();
    }

    private void Run()
    {
        Transmission? transmission = null;
        try
        {
            transmission = Negotiate();
        }
        catch (Exception)
        {
            // A client that leaves in the handshake, or is cut off at the deadline, has cost its thread and no more.
        }

        if (transmission is null)
        {
            Finish();
        }
        else
        {
            new TransmissionWorker(transmission).Run();
        }
    }

    private Transmission? Negotiate()
    {
        var handshake = new ServerHandshake(_server, this, _transport, _receiver);
        using (_server.Options.TimeProvider.CreateTimer(
            static connection => ((ServerConnection)connection!).Abort(),
            this,
            _server.Options.HandshakeTimeout,
            Timeout.InfiniteTimeSpan))
        {
            if (!handshake.Run())
            {
                return null;
            }
        }

        var transmission = new Transmission(this, _transport, _receiver, handshake);
        lock (_gate)
        {
            _transmission = transmission;
            if (_stopping)
            {
                transmission.Stop();
            }
        }

        return transmission;
    }
}
