using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Client;

/// <summary>An export of an NBD server as a node: QEMU's <c>nbd</c> driver, over one or more connections.</summary>
/// <remarks>
/// Requests are spread over the connections in turn. Several are made only to a server that says that a flush on one
/// covers the completed writes of all, and that reads see them; then one flush is enough. There is no reconnecting
/// yet: when a connection is lost, its requests fail with the reason, and so does every later one that falls to it.
/// </remarks>
public sealed class NbdNode : BlockNode
{
    private readonly NbdClient[] _clients;
    private readonly BlockLimits _limits;
    private uint _turn;

    /// <summary>Makes a node over connections to one export; they belong to the node.</summary>
    /// <param name="name">The node's name.</param>
    /// <param name="clients">At least one; more only if the server offers multiple connections.</param>
    /// <param name="readOnly">Whether writes are refused here.</param>
    internal NbdNode(string name, IReadOnlyList<NbdClient> clients, bool readOnly)
        : base(name)
    {
        _clients = [.. clients];
        var first = clients[0];
        IsReadOnly = readOnly || first.IsReadOnly;
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
    public override long Length => _clients[0].Length;

    /// <inheritdoc/>
    public override bool IsReadOnly { get; }

    /// <inheritdoc/>
    public override BlockLimits Limits => _limits;

    /// <summary>The connections.</summary>
    public IReadOnlyList<NbdClient> Clients => _clients;

    /// <summary>The metadata contexts that the server offers of those asked for.</summary>
    public IReadOnlyList<string> MetaContexts => _clients[0].MetaContexts;

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
        List<NbdClient> clients = [];
        try
        {
            do
            {
                var client =
                    await NbdClient.ConnectAsync(endPoint, clientOptions, cancellationToken).ConfigureAwait(false);
                clients.Add(client);
                if (client.Length != clients[0].Length || client.Flags != clients[0].Flags)
                {
                    throw new NbdException(
                        BlockErrorKind.Io,
                        $"the server at {endPoint} describes one export differently on two connections");
                }
            }
            while (clients.Count < options.Connections && clients[0].CanMultiConnection);

            return new NbdNode(name, clients, options.ReadOnly);
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

    /// <summary>
    /// Appends what a metadata context says of a range; see <see cref="NbdClient.GetExtentsAsync"/>.
    /// </summary>
    /// <exception cref="NbdException">The server does not offer the context, or the connection is lost.</exception>
    public ValueTask GetMetaContextExtentsAsync(
        string contextName, long offset, long length, ExtentList extents,
        CancellationToken cancellationToken = default) =>
        Next().GetExtentsAsync(contextName, offset, length, extents, cancellationToken);

    /// <inheritdoc/>
    public override async ValueTask DisposeAsync()
    {
        foreach (var client in _clients)
        {
            await client.DisposeAsync().ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> target, CancellationToken cancellationToken) =>
        Next().ReadAsync(offset, target, cancellationToken);

    /// <inheritdoc/>
    protected override ValueTask WriteCoreAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken) =>
        Next().WriteAsync(offset, source, (flags & WriteFlags.ForceUnitAccess) != 0, cancellationToken);

    /// <inheritdoc/>
    protected override ValueTask WriteZeroesCoreAsync(
        long offset, long length, WriteFlags flags, CancellationToken cancellationToken) =>
        Next().WriteZeroesAsync(offset, length, flags, cancellationToken);

    /// <inheritdoc/>
    protected override ValueTask DiscardCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
        Next().TrimAsync(offset, length, cancellationToken);

    /// <inheritdoc/>
    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken) =>
        Next().FlushAsync(cancellationToken);

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

        return Next().GetExtentsAsync(MetaContextNames.BaseAllocation, offset, length, extents, cancellationToken);
    }

    private NbdClient Next() => _clients.Length == 1
        ? _clients[0]
        : _clients[Interlocked.Increment(ref _turn) % (uint)_clients.Length];
}
