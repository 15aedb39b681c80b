using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server;

// The transmission phase of one connection, as its workers share it.
//
// The idea. A worker is a thread with blocking calls. One of them leads: it alone receives. What it does with a
// request depends on what the request is likely to cost:
//   * A read or write, while the node has lately not waited for a device (LeadPolicy): the leader serves it itself and
//     stays leader. Small replies gather in its buffer and leave together when no whole request is waiting any more, so
//     at depth 16 one system call brings many requests and one takes many replies.
//   * Anything that may take long, or a node that has waited: the leader gives the lead to another worker, made
//     if there is none idle, and then serves the request. So slow requests run side by side, up to a limit.
//   * A request whose task does not complete at once: the lead is given up before the worker blocks on it.
//
// Guarantees. Only the leader touches the receive buffer. Replies are sent whole, under the send lock. After the end
// of the connection, however it came, every request that was begun finishes on the node before Finish is called; so
// no write lands after a connection was reported as gone.
internal sealed class Transmission
{
    /// <summary>Replies up to this length gather; longer ones leave at once, and their bytes are counted.</summary>
    internal const int SmallRequest = 64 * 1024;

    /// <summary>How long a worker without work stays.</summary>
    private static readonly TimeSpan s_idleTime = TimeSpan.FromSeconds(5);

    private readonly ServerConnection _connection;
    private readonly NbdTransport _transport;
    private readonly ByteBudget _budget;
    private readonly Func<bool> _othersWait;
    private readonly int _maximumWorkers;
    private readonly long _maximumBytes;

    private readonly object _gate = new();
    private readonly Lock _sendGate = new();

    // Guarded by _gate.
    private bool _hasLeader;
    private bool _ended;
    private int _idleWorkers;
    private int _workers = 1;

    // The budget's alone.
    private long _bytesInFlight;

    private volatile bool _stopping;

    internal Transmission(
        ServerConnection connection,
        NbdTransport transport,
        ReceiveBuffer receiver,
        ServerHandshake handshake)
    {
        var server = handshake.Server;
        var options = server.Options;
        _connection = connection;
        _transport = transport;
        Receiver = receiver;
        Export = handshake.Export!;
        StructuredReplies = handshake.StructuredReplies;
        ExtendedHeaders = handshake.ExtendedHeaders;
        Contexts = handshake.SelectedContexts;
        RequestSize = RequestHeader.SizeOf(ExtendedHeaders);
        Buffers = server.Buffers;
        Policy = new LeadPolicy(options.TimeProvider);
        _budget = server.Budget;
        _othersWait = () => !Receiver.Waiting.IsEmpty || _transport.HasWaitingBytes;
        _maximumWorkers = Math.Max(1, options.WorkersPerConnection);
        _maximumBytes = Math.Max(NbdLimits.MaximumPayload, options.BytesInFlightPerConnection);
    }

    internal NbdExport Export { get; }

    internal bool StructuredReplies { get; }

    internal bool ExtendedHeaders { get; }

    /// <summary>The size of a request's header.</summary>
    internal int RequestSize { get; }

    internal IReadOnlyList<ExportContext> Contexts { get; }

    /// <summary>The leader's alone.</summary>
    internal ReceiveBuffer Receiver { get; }

    /// <summary>Whether no further request is to be received.</summary>
    internal bool IsStopping => _stopping;

    /// <summary>The server's memory for requests.</summary>
    internal ServerBuffers Buffers { get; }

    /// <summary>The leader's alone.</summary>
    internal LeadPolicy Policy { get; }

    /// <summary>The leader's question: has a whole request, with its payload, been received already?</summary>
    internal bool HasWholeRequest
    {
        get
        {
            var waiting = Receiver.Waiting;
            return waiting.Length >= RequestSize
                && (!RequestHeader.TryRead(waiting, ExtendedHeaders, out var header)
                    || (ulong)(waiting.Length - RequestSize) >= header.PayloadLength(ExtendedHeaders));
        }
    }

    /// <summary>Waits for the lead.</summary>
    /// <returns>False when the worker is not needed any more.</returns>
    internal bool TryLead()
    {
        lock (_gate)
        {
            while (_hasLeader && !_ended)
            {
                _idleWorkers++;
                var woken = Monitor.Wait(_gate, s_idleTime);
                _idleWorkers--;
                if (!woken && _hasLeader)
                {
                    return false;
                }
            }

            if (_ended)
            {
                return false;
            }

            _hasLeader = true;
            return true;
        }
    }

    /// <summary>Gives the lead to an idle worker or a new one.</summary>
    internal void GiveUpLead()
    {
        lock (_gate)
        {
            _hasLeader = false;
            if (_ended)
            {
                return;
            }

            if (_idleWorkers > 0)
            {
                Monitor.Pulse(_gate);
                return;
            }

            if (_workers == _maximumWorkers)
            {
                return;
            }

            _workers++;
        }

        var worker = new TransmissionWorker(this);
        try
        {
            new Thread(worker.Run, ServerConnection.ThreadStackSize) { IsBackground = true,
                Name = "nbd server" }.Start();
        }
        catch (Exception exception) when (exception is OutOfMemoryException or ThreadStartException)
        {
            // The machine has no thread to give: those that are there go on, and one of them comes for the lead.
            lock (_gate)
            {
                _workers--;
            }
        }
    }

    /// <summary>Whether the lead should be given up before the request is served.</summary>
    internal bool ShouldShare(in RequestHeader request)
    {
        if (_maximumWorkers == 1)
        {
            return false;
        }

        if ((request.Flags & CommandFlags.ForceUnitAccess) != 0)
        {
            return true;
        }

        return request.Command switch
        {
            NbdCommand.Read or NbdCommand.Write => Policy.ShouldShare(request, _othersWait),
            NbdCommand.BlockStatus => _othersWait(),
            _ => true,
        };
    }

    /// <summary>Waits until a request's bytes are within the limit.
    /// Only the leader waits; the others give back.</summary>
    internal void ReserveBytes(long count) => _budget.Take(count, ref _bytesInFlight, _maximumBytes);

    /// <summary>Gives bytes back.</summary>
    internal void ReleaseBytes(long count) => _budget.GiveBack(count, ref _bytesInFlight);

    /// <summary>Sends whole replies. A connection that breaks here is ended; nothing is thrown.</summary>
    internal void Send(ReadOnlySpan<byte> replies)
    {
        try
        {
            lock (_sendGate)
            {
                _transport.Send(replies, default);
            }
        }
        catch (IOException)
        {
            Fail();
        }
    }

    /// <summary>No further request is received. What was received is served.</summary>
    internal void Stop() => _stopping = true;

    /// <summary>The client has ended, or broken the protocol: no more is received.</summary>
    internal void End()
    {
        lock (_gate)
        {
            _ended = true;
            _hasLeader = false;
            Monitor.PulseAll(_gate);
        }
    }

    /// <summary>The connection is of no more use to either side.</summary>
    internal void Fail()
    {
        _transport.Abort();
        End();
    }

    /// <summary>A worker leaves; the last one closes the connection.</summary>
    internal void Leave()
    {
        bool last;
        lock (_gate)
        {
            last = --_workers == 0;
        }

        if (last)
        {
            _connection.Finish();
        }
    }
}
