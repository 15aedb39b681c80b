using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server;

// The transmission phase of one connection, as its workers share it.
//
// The idea. A worker is a thread with blocking calls. One of them leads: it alone receives. What it does with a
// request depends on what the request is likely to cost:
//   * A small read or write, while the node has lately been quick (its bytes were in memory): the leader serves it
//     itself and stays leader. Replies gather in its buffer and leave together when no whole request is waiting any
//     more, so at depth 16 one system call brings many requests and one takes many replies.
//   * Anything that may take long, or a node that has been slow: the leader gives the lead to another worker, made
//     if there is none idle, and then serves the request. So slow requests run side by side, up to a limit.
//   * A request whose task does not complete at once: the lead is given up before the worker blocks on it.
//
// Guarantees. Only the leader touches the receive buffer. Replies are sent whole, under the send lock. After the end
// of the connection, however it came, every request that was begun finishes on the node before Finish is called; so
// no write lands after a connection was reported as gone.
internal sealed class Transmission
{
    /// <summary>Longer requests are served by a thread of their own
    /// when others wait, and are answered at once.</summary>
    internal const int SmallRequest = 64 * 1024;

    /// <summary>A node whose small requests take longer than this on average is waiting for a device.</summary>
    private static readonly TimeSpan s_slow = TimeSpan.FromMicroseconds(50);

    /// <summary>How long small requests are shared out then, before the
    /// leader tries again to serve them itself.</summary>
    private static readonly TimeSpan s_sharing = TimeSpan.FromMilliseconds(100);

    /// <summary>How long a worker without work stays.</summary>
    private static readonly TimeSpan s_idleTime = TimeSpan.FromSeconds(5);

    private readonly ServerConnection _connection;
    private readonly NbdTransport _transport;
    private readonly TimeProvider _time;
    private readonly long _slowTicks;
    private readonly long _sharingTicks;
    private readonly int _maximumWorkers;
    private readonly long _maximumBytes;

    private readonly object _gate = new();
    private readonly Lock _sendGate = new();
    private readonly object _bytesGate = new();

    // Guarded by _gate.
    private bool _hasLeader;
    private bool _ended;
    private int _idleWorkers;
    private int _workers = 1;

    // Guarded by _bytesGate.
    private long _bytesInFlight;

    // The leader's alone.
    private long _averageTicks;
    private long _shareUntil;

    private volatile bool _stopping;

    internal Transmission(
        ServerConnection connection,
        NbdTransport transport,
        ReceiveBuffer receiver,
        ServerHandshake handshake,
        NbdServerOptions options)
    {
        _connection = connection;
        _transport = transport;
        Receiver = receiver;
        Export = handshake.Export!;
        StructuredReplies = handshake.StructuredReplies;
        ExtendedHeaders = handshake.ExtendedHeaders;
        Contexts = handshake.SelectedContexts;
        RequestSize = RequestHeader.SizeOf(ExtendedHeaders);
        _time = options.TimeProvider;
        _slowTicks = (long)(s_slow.TotalSeconds * _time.TimestampFrequency);
        _sharingTicks = (long)(s_sharing.TotalSeconds * _time.TimestampFrequency);
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

    /// <summary>A time stamp for <see cref="Measure"/>.</summary>
    internal long Now => _time.GetTimestamp();

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
            NbdCommand.Read or NbdCommand.Write when request.Length <= SmallRequest =>
                _shareUntil != 0 && IsSharing(),
            NbdCommand.Read or NbdCommand.Write or NbdCommand.BlockStatus =>
                !Receiver.Waiting.IsEmpty || _transport.HasWaitingBytes,
            _ => true,
        };
    }

    /// <summary>
    /// Learns how long a small read or write took that the leader served while it led. Shared ones say nothing: they
    /// also wait for each other, for the processor or a lock of the file, and would keep sharing alive by themselves.
    /// </summary>
    internal void Measure(in RequestHeader request, long started)
    {
        if (request.Length > SmallRequest || request.Command is not (NbdCommand.Read or NbdCommand.Write))
        {
            return;
        }

        // One long sample is a thread that lost the processor; a slow device shows in several.
        var now = Now;
        var sample = Math.Min(now - started, 4 * _slowTicks);
        _averageTicks += (sample - _averageTicks) >> 3;
        if (_averageTicks > _slowTicks)
        {
            _averageTicks = _slowTicks / 2;
            _shareUntil = now + _sharingTicks;
        }
    }

    private bool IsSharing()
    {
        if (Now < _shareUntil)
        {
            return true;
        }

        _shareUntil = 0;
        return false;
    }

    /// <summary>Waits until a request's bytes are within the limit.
    /// Only the leader waits; the others give back.</summary>
    internal void ReserveBytes(long count)
    {
        lock (_bytesGate)
        {
            while (_bytesInFlight > 0 && _bytesInFlight + count > _maximumBytes)
            {
                Monitor.Wait(_bytesGate);
            }

            _bytesInFlight += count;
        }
    }

    /// <summary>Gives bytes back.</summary>
    internal void ReleaseBytes(long count)
    {
        lock (_bytesGate)
        {
            _bytesInFlight -= count;
            Monitor.PulseAll(_bytesGate);
        }
    }

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
