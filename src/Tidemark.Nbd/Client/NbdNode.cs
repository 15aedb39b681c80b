using System.Runtime.CompilerServices;
using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Client;

/// <summary>An export of an NBD server as a node: QEMU's <c>nbd</c> driver, over one or more connections.</summary>
/// <remarks>
/// <para>Requests are spread over the connections in turn. Several are made only to a server that says that a flush on
/// one covers the completed writes of all, and that reads see them; then one flush is enough. A server that takes fewer
/// than asked for is used with those that it takes (<see cref="Clients"/>).</para>
/// <para>With a <see cref="NbdNodeOptions.Reconnect"/> policy a lost connection is made again and what was under way on
/// it is sent again; without one its requests fail with the reason, and so does every later one that falls to
/// it.</para>
/// </remarks>
//
// Why no write of a lost connection lands later. A write that was sent may lie in a socket, or be under way on the
// server, when its connection is lost. If it were reported as failed, or sent again and reported as done, at that time,
// the caller could write the same place anew, and the old bytes could come last.
//   1. NbdClient reports a loss only when the connection has ended on both sides. It ends its own direction, so that
//      the server takes no further request, and goes on receiving until the server has ended the other one. Our server
//      does that after the last request of the connection has finished (ServerConnection); so do nbdkit and qemu-nbd
//      when they end. At the latest then every write of the connection is done, or never will be.
//   2. Where the server's end does not come within a time, or comes as a reset from a network, the fate of the writes
//      is not known (NbdClient.IsSettled is false). Those that were under way fail, and this node refuses every write
//      from there on: nobody can write over them through it. Reading goes on.
//   3. A connection is replaced only after it has ended (NodeConnection), and what is sent again is sent then.
// Why a flush cannot lie. Writes that completed on a lost connection may have been in the server's memory, and the
// server may have died with it. So writes are counted before they are sent, and a flush that succeeds notes the count
// with which it began. If the two differ when a connection is about to be replaced, the next flush fails, once.
public sealed class NbdNode : BlockNode
{
    private static readonly TimeSpan s_leastPatience = TimeSpan.FromSeconds(1);

    private readonly NodeConnection[] _connections;
    private readonly bool _reconnects;

    // With one connection and no policy nothing can come after a loss.
    private readonly bool _watchesWrites;
    private readonly BlockLimits _limits;
    private uint _turn;
    private volatile NbdException? _writesEnded;
    private long _written;
    private long _flushed;
    private volatile bool _mayHaveLost;

    private NbdNode(string name, IReadOnlyList<NodeConnection> connections, NbdNodeOptions options)
        : base(name)
    {
        _connections = [.. connections];
        _reconnects = options.Reconnect is not null;
        _watchesWrites = _reconnects || connections.Count > 1;
        foreach (var connection in connections)
        {
            connection.Replacing = NoteReplacing;
        }

        var first = connections[0].Client;
        IsReadOnly = options.ReadOnly || first.IsReadOnly;
        _limits = new BlockLimits
        {
            RequestAlignment = first.MinimumBlockSize,
            MaximumTransfer = first.MaximumPayload,
            PreferredSize = first.PreferredBlockSize,
        };
    }

    /// <inheritdoc/>
    public override string Driver => "nbd";

    /// <inheritdoc/>
    public override long Length => _connections[0].Client.Length;

    /// <inheritdoc/>
    public override bool IsReadOnly { get; }

    /// <inheritdoc/>
    public override BlockLimits Limits => _limits;

    /// <summary>The connections at this moment; with a reconnect policy they are replaced when they are lost.</summary>
    public IReadOnlyList<NbdClient> Clients => [.. _connections.Select(connection => connection.Client)];

    /// <summary>The metadata contexts that the server offers of those asked for.</summary>
    public IReadOnlyList<string> MetaContexts => _connections[0].Client.MetaContexts;

    /// <summary>Connects.</summary>
    /// <param name="name">The node's name in its graph.</param>
    /// <param name="endPoint">The server.</param>
    /// <param name="options">The export and how to use it.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="NbdException">As
    /// <see cref="NbdClient.ConnectAsync(NbdEndPoint, NbdClientOptions?, CancellationToken)"/>.</exception>
    public static async Task<NbdNode> ConnectAsync(
        string name, NbdEndPoint endPoint, NbdNodeOptions? options = null,
        CancellationToken cancellationToken = default)
    {
        options ??= new NbdNodeOptions();
        var clientOptions = options.Client with
        {
            ExportName = options.ExportName,
            MetaContexts =
                [.. options.MetaContexts.Prepend(MetaContextNames.BaseAllocation).Distinct(StringComparer.Ordinal)],
        };
        Task<NbdClient> Connect(CancellationToken token) => NbdClient.ConnectAsync(endPoint, clientOptions, token);
        List<NbdClient> clients = [];
        try
        {
            var time = clientOptions.TimeProvider;
            var began = time.GetTimestamp();
            clients.Add(await Connect(cancellationToken).ConfigureAwait(false));
            var further = clientOptions with { ConnectTimeout = Patience(time.GetElapsedTime(began), clientOptions) };
            while (clients.Count < options.Connections && clients[0].CanMultiConnection
                && await ConnectFurtherAsync(endPoint, further, cancellationToken).ConfigureAwait(false) is { } client)
            {
                clients.Add(client);
                if (client.Length != clients[0].Length || client.Flags != clients[0].Flags)
                {
                    throw new NbdException(
                        BlockErrorKind.Io,
                        $"the server at {endPoint} describes one export differently on two connections");
                }
            }

            return new NbdNode(
                name,
                [.. clients.Select(client => new NodeConnection(
                    client, Connect, options.Reconnect, options.Client.TimeProvider))],
                options);
        }
        catch
        {
            foreach (var client in clients)
            {
                await client.DisposeAsync().ConfigureAwait(false);
            }

            throw;
        }
    }

    /// <summary>Connects to the server of a URI.</summary>
    /// <param name="name">The node's name in its graph.</param>
    /// <param name="uri">The server, the export, and whether TLS is used; they replace those of the options.</param>
    /// <param name="options">How to use the export.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="NbdException">As above; also a certificate that cannot be used.</exception>
    public static Task<NbdNode> ConnectAsync(
        string name, NbdUri uri, NbdNodeOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(uri);
        options ??= new NbdNodeOptions();
        return ConnectAsync(
            name,
            uri.EndPoint,
            options with { ExportName = uri.ExportName, Client = NbdClientOptions.ForUri(uri, options.Client) },
            cancellationToken);
    }

    /// <summary>
    /// Appends what a metadata context says of a range; see <see cref="NbdClient.GetExtentsAsync"/>.
    /// </summary>
    /// <exception cref="NbdException">The server does not offer the context, or the connection is lost.</exception>
    public async ValueTask GetMetaContextExtentsAsync(
        string contextName, long offset, long length, ExtentList extents,
        CancellationToken cancellationToken = default)
    {
        // A list of our own: an answer that breaks off is asked for again from the beginning.
        var found = new ExtentList();
        await RunAsync(
            writes: false,
            (contextName, offset, length, found),
            static (client, s, token) =>
            {
                s.found.Clear();
                return client.GetExtentsAsync(s.contextName, s.offset, s.length, s.found, token);
            },
            cancellationToken).ConfigureAwait(false);
        foreach (var extent in found)
        {
            extents.Append(extent);
        }
    }

    /// <summary>Whether <see cref="ReadLateAsync"/> can be used for reads of this length.</summary>
    internal bool CanReadLate(int length) => !_reconnects && length <= _limits.MaximumTransfer;

    /// <summary>Reads into memory that is given when the bytes come: see <see cref="CanReadLate"/>.</summary>
    internal ValueTask ReadLateAsync(
        long offset, int length, ILateTarget target, CancellationToken cancellationToken) =>
        Next().Client.ReadLateAsync(offset, length, target, cancellationToken);

    /// <inheritdoc/>
    public override async ValueTask DisposeAsync()
    {
        foreach (var connection in _connections)
        {
            await connection.DisposeAsync().ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> target, CancellationToken cancellationToken) =>
        _reconnects
            ? RunAsync(
                writes: false,
                (offset, target),
                static (client, s, token) => client.ReadAsync(s.offset, s.target, token),
                cancellationToken)
            : Next().Client.ReadAsync(offset, target, cancellationToken);

    /// <inheritdoc/>
    protected override ValueTask WriteCoreAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken)
    {
        var durable = (flags & WriteFlags.ForceUnitAccess) != 0;
        return _watchesWrites
            ? RunAsync(
                writes: true,
                (offset, source, durable),
                static (client, s, token) => client.WriteAsync(s.offset, s.source, s.durable, token),
                cancellationToken)
            : Next().Client.WriteAsync(offset, source, durable, cancellationToken);
    }

    /// <inheritdoc/>
    protected override ValueTask WriteZeroesCoreAsync(
        long offset, long length, WriteFlags flags, CancellationToken cancellationToken) =>
        RunAsync(
            writes: true,
            (offset, length, flags),
            static (client, s, token) => client.WriteZeroesAsync(s.offset, s.length, s.flags, token),
            cancellationToken);

    /// <inheritdoc/>
    protected override ValueTask DiscardCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
        RunAsync(
            writes: true,
            (offset, length),
            static (client, s, token) => client.TrimAsync(s.offset, s.length, token),
            cancellationToken);

    /// <inheritdoc/>
    protected override async ValueTask FlushCoreAsync(CancellationToken cancellationToken)
    {
        // Writes that are begun from here on are the next flush's.
        var written = Interlocked.Read(ref _written);
        await RunAsync(writes: false, 0, static (client, _, token) => client.FlushAsync(token), cancellationToken)
            .ConfigureAwait(false);
        if (_mayHaveLost)
        {
            _mayHaveLost = false;
            throw new NbdException(
                BlockErrorKind.Io,
                $"node '{Name}' lost a connection after writes that no flush had made durable; they may be gone");
        }

        long flushed;
        while ((flushed = Interlocked.Read(ref _flushed)) < written)
        {
            Interlocked.CompareExchange(ref _flushed, written, flushed);
        }
    }

    /// <inheritdoc/>
    protected override ValueTask ResizeCoreAsync(long length, CancellationToken cancellationToken) =>
        _connections.Length == 1
            ? Next().Client.ResizeAsync(length, cancellationToken)
            : throw new NbdException(
                BlockErrorKind.NotSupported,
                $"cannot resize node '{Name}': only one of its {_connections.Length} connections would know");

    /// <inheritdoc/>
    protected override ValueTask GetBlockStatusCoreAsync(
        long offset, long length, ExtentList extents, CancellationToken cancellationToken)
    {
        // Without the context nothing is known: all of it counts as data, which is always true enough to be copied.
        if (!MetaContexts.Contains(MetaContextNames.BaseAllocation))
        {
            extents.Append(offset, length, ExtentFlags.None);
            return default;
        }

        return GetMetaContextExtentsAsync(
            MetaContextNames.BaseAllocation, offset, length, extents, cancellationToken);
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private async ValueTask RunAsync<TState>(
        bool writes,
        TState state,
        Func<NbdClient, TState, CancellationToken, ValueTask> operation,
        CancellationToken cancellationToken)
    {
        var connection = Next();
        while (true)
        {
            if (writes && _writesEnded is { } reason)
            {
                throw reason;
            }

            var client = await connection.GetAsync(cancellationToken).ConfigureAwait(false);
            if (writes)
            {
                Interlocked.Increment(ref _written);
            }

            try
            {
                await operation(client, state, cancellationToken).ConfigureAwait(false);
                return;
            }
            catch (Exception exception)
                when (client.Failure is not null && exception is not NbdException { Error: not NbdError.None })
            {
                await client.Ended.ConfigureAwait(false);
                if (writes && !client.IsSettled)
                {
                    throw EndWrites(client);
                }

                if (!_reconnects || exception is OperationCanceledException)
                {
                    throw;
                }
            }
        }
    }

    // A server that has as many clients as it wants hangs up, or does not look at the next one before another leaves:
    // the node is content with what it has. The first connection tells how long a willing server takes.
    private static TimeSpan Patience(TimeSpan first, NbdClientOptions options)
    {
        var patience = TimeSpan.FromTicks(Math.Max(s_leastPatience.Ticks, 4 * first.Ticks));
        return options.ConnectTimeout > TimeSpan.Zero && options.ConnectTimeout < patience
            ? options.ConnectTimeout
            : patience;
    }

    private static async Task<NbdClient?> ConnectFurtherAsync(
        NbdEndPoint endPoint, NbdClientOptions options, CancellationToken cancellationToken)
    {
        try
        {
            return await NbdClient.ConnectAsync(endPoint, options, cancellationToken).ConfigureAwait(false);
        }
        catch (NbdException)
        {
            return null;
        }
    }

    private void NoteReplacing()
    {
        if (Interlocked.Read(ref _written) != Interlocked.Read(ref _flushed))
        {
            _mayHaveLost = true;
        }
    }

    private NbdException EndWrites(NbdClient client) => _writesEnded ??= new NbdException(
        BlockErrorKind.Io,
        $"node '{Name}' takes no more writes: a connection was lost with writes whose fate is not known "
        + $"({client.Failure?.Message}); connect anew when the server is known to have ended them",
        client.Failure);

    private NodeConnection Next() => _connections.Length == 1
        ? _connections[0]
        : _connections[Interlocked.Increment(ref _turn) % (uint)_connections.Length];
}
