using System.Text.Json.Nodes;
using Tidemark.Blocks.Graph;
using Tidemark.Engine.Commands;
using Tidemark.Engine.Events;
using Tidemark.Engine.Exports;
using Tidemark.Engine.Jobs;
using Tidemark.Engine.Nodes;
using Tidemark.Engine.Transactions;
using Tidemark.Qmp;

namespace Tidemark.Engine;

// What QEMU's storage daemon is, as an object: named nodes, jobs, exports, one NBD server, behind QMP and nothing else.
// Whoever drives it, in this process or over a socket, speaks QMP to it.
//
// Commands of all monitors and the ends of jobs take turns at one gate. Guests' requests never pass there: they enter
// through the exports' roots and meet the commands only in the drained sections of the graph.
//
// The end, in this order: no more commands; jobs are cancelled and gone; exports and the NBD server are gone, after the
// requests that are under way; nodes are closed, users before what they use, which stores the persistent bitmaps.

/// <summary>The embedded engine: the role of qemu-storage-daemon.</summary>
public sealed class StorageEngine : IAsyncDisposable
{
    private readonly TimeProvider _timeProvider;
    private readonly CommandGate _gate = new();
    private readonly CommandTable _table = new();
    private readonly NodeSet _nodes;
    private readonly JobSet _jobs;
    private readonly ExportSet _exports;
    private readonly TaskCompletionSource _quit = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly CancellationTokenSource _closing = new();
    private readonly EventHub _events = new();

    // Guarded by _sessionsGate.
    private readonly Lock _sessionsGate = new();
    private readonly List<Task> _sessions = [];
    private bool _isDisposed;

    /// <summary>Creates an engine without nodes.</summary>
    /// <param name="timeProvider">The clock of events; null for the system's.</param>
    public StorageEngine(TimeProvider? timeProvider = null)
    {
        _timeProvider = timeProvider ?? TimeProvider.System;
        _nodes = new NodeSet(new BlockGraph());
        _jobs = new JobSet(_gate, _events);
        _exports = new ExportSet(_nodes, _gate, _events);
        TransactionCommands.AddTo(_table, new ActionReader(_nodes, _jobs, _events), _nodes);
        NodeCommands.AddTo(_table, _nodes, new NodeCreator(_nodes, _jobs, _events));
        ChainCommands.AddTo(_table, _nodes, _jobs, _timeProvider, _events);
        JobCommands.AddTo(_table, _jobs);
        ExportCommands.AddTo(_table, _exports);
        AddOwnCommands();
    }

    /// <summary>Completes when a client has sent <c>quit</c>: whoever owns the engine disposes it then.</summary>
    public Task QuitRequested => _quit.Task;

    /// <summary>Connects a monitor inside this process. It speaks real QMP over a stream in memory.</summary>
    public async Task<QmpConnection> ConnectInProcessAsync(CancellationToken cancellationToken = default)
    {
        var (server, client) = InProcessStream.CreatePair();
        var serving = ServeAsync(server, CancellationToken.None);
        lock (_sessionsGate)
        {
            _sessions.RemoveAll(session => session.IsCompleted);
            _sessions.Add(serving);
        }

        return await QmpConnection.OpenAsync(client, "qmp:(this process)", null, _timeProvider, cancellationToken)
            .ConfigureAwait(false);
    }

    /// <summary>Serves one monitor client until it goes, sends <c>quit</c>, or the engine is disposed.</summary>
    /// <param name="stream">A duplex stream; disposed at the end.</param>
    /// <param name="cancellationToken">Ends the session at once.</param>
    /// <remarks>Never faults: a client that breaks the protocol loses its connection, and that is all.</remarks>
    public async Task ServeAsync(Stream stream, CancellationToken cancellationToken = default)
    {
        await using var owned = stream.ConfigureAwait(false);
        using var both = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _closing.Token);
        var commands = new SessionCommands(this);
        using var session = new QmpServerSession(stream, commands, _timeProvider);
        commands.Session = session;
        _events.Add(session);
        try
        {
            await session.RunAsync(both.Token).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is QmpException or IOException or ObjectDisposedException)
        {
            // The client broke a limit or went away in the middle of a message.
        }
        finally
        {
            _events.Remove(session);
            if (commands.HasQuit)
            {
                // Not before its reply is out: whoever waits for this ends every session at once.
                _quit.TrySetResult();
            }
        }
    }

    /// <summary>Ends everything: jobs, exports, nodes. Persistent bitmaps are stored.</summary>
    /// <exception cref="Blocks.Nodes.BlockException">A node was closed with an error, the first of them; all were
    /// closed.</exception>
    public async ValueTask DisposeAsync()
    {
        Task[] sessions;
        lock (_sessionsGate)
        {
            if (_isDisposed)
            {
                return;
            }

            _isDisposed = true;
            sessions = [.. _sessions];
        }

        await _closing.CancelAsync().ConfigureAwait(false);
        await Task.WhenAll(sessions).ConfigureAwait(false);
        await _jobs.ShutDownAsync().ConfigureAwait(false);
        await _exports.ShutDownAsync().ConfigureAwait(false);
        await _nodes.CloseAllAsync().ConfigureAwait(false);
        await _nodes.Graph.DisposeAsync().ConfigureAwait(false);
        _gate.Dispose();
        _closing.Dispose();
    }

    /// <summary>Carries out one command as a monitor would; for the options of the command line.</summary>
    internal async Task<JsonNode> ExecuteAsync(
        string command, QmpArguments arguments, CancellationToken cancellationToken)
    {
        using var turn = await _gate.EnterAsync(cancellationToken).ConfigureAwait(false);

        // A command that has begun is carried out: half of one would be worse than a client that no longer listens.
        return await _table.ExecuteAsync(command, arguments, _closing.Token).ConfigureAwait(false);
    }

    private void AddOwnCommands()
    {
        _table.Add("query-version", (arguments, _) =>
        {
            arguments.CheckNothingLeft();
            return ValueTask.FromResult<JsonNode>(EngineVersion.Qmp.ToJson());
        });
        _table.Add("query-commands", (arguments, _) =>
        {
            arguments.CheckNothingLeft();
            JsonArray list = [];
            foreach (var name in _table.Names.Append("qmp_capabilities"))
            {
                list.Add((JsonNode)new JsonObject { ["name"] = name });
            }

            return ValueTask.FromResult<JsonNode>(list);
        });
        _table.Add("quit", arguments => arguments.CheckNothingLeft());
    }

    // What one session sees of the table: `quit` ends the session that sent it, once its reply is out.
    private sealed class SessionCommands(StorageEngine engine) : IQmpCommandTable
    {
        public QmpVersion Version => EngineVersion.Qmp;

        public QmpServerSession? Session { get; set; }

        public bool HasQuit { get; private set; }

        public bool Contains(string command) => engine._table.Contains(command);

        public async Task<JsonNode> ExecuteAsync(
            string command, QmpArguments arguments, CancellationToken cancellationToken)
        {
            var result = await engine.ExecuteAsync(command, arguments, cancellationToken).ConfigureAwait(false);
            if (command == "quit")
            {
                HasQuit = true;
                Session!.EndAfterReply();
            }

            return result;
        }
    }
}
