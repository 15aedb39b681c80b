using Tidemark.Blocks.Nodes;

namespace Tidemark.Blocks.Graph;

/// <summary>
/// The named nodes of one engine and the edges between them. Changes happen in a drained section: no request of any
/// root is under way, so each request is wholly before or wholly after the change.
/// </summary>
public sealed class BlockGraph : IAsyncDisposable
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, BlockNode> _nodes = new(StringComparer.Ordinal);
    private readonly List<string> _order = [];
    private readonly DrainGate _drain = new();
    private readonly SemaphoreSlim _oneDrain = new(1, 1);
    private int _lastImplicitName;

    /// <summary>The nodes in the order in which they were added: a copy.</summary>
    public IReadOnlyList<BlockNode> Nodes
    {
        get
        {
            lock (_gate)
            {
                return _order.ConvertAll(name => _nodes[name]);
            }
        }
    }

    /// <summary>A fresh name for a node that nobody named: <c>#block1</c>, <c>#block2</c>, …</summary>
    public string NextImplicitName() => $"#block{Interlocked.Increment(ref _lastImplicitName)}";

    /// <summary>The node of that name, or null.</summary>
    public BlockNode? Find(string name)
    {
        lock (_gate)
        {
            return _nodes.GetValueOrDefault(name);
        }
    }

    /// <summary>The node of that name.</summary>
    /// <exception cref="BlockException">There is none.</exception>
    public BlockNode Get(string name) =>
        Find(name) ?? throw new BlockException(
            BlockErrorKind.NotFound, $"Cannot find device='{name}' nor node-name='{name}'");

    /// <summary>Adds a node; the graph owns it from here and disposes it.</summary>
    /// <exception cref="BlockException">The name is taken. The node is not added and stays the caller's.</exception>
    public void Add(BlockNode node)
    {
        lock (_gate)
        {
            if (!_nodes.TryAdd(node.Name, node))
            {
                throw new BlockException(BlockErrorKind.BadName, $"Duplicate nodes with node-name='{node.Name}'");
            }

            _order.Add(node.Name);
        }
    }

    /// <summary>Takes a node out and disposes it.</summary>
    /// <exception cref="BlockException">Unknown, or still used by somebody, who is named.</exception>
    public async ValueTask RemoveAsync(string name)
    {
        BlockNode node;
        lock (_gate)
        {
            node = _nodes.GetValueOrDefault(name)
                ?? throw new BlockException(BlockErrorKind.NotFound, $"Failed to find node with node-name='{name}'");
            if (node.Parents is [var parent, ..])
            {
                throw new BlockException(
                    BlockErrorKind.Busy,
                    $"Node '{name}' is busy: node is used as {parent.Role.ToString().ToLowerInvariant()} "
                    + $"of {parent.Description}");
            }

            _nodes.Remove(name);
            _order.Remove(name);
        }

        await node.DisposeAsync().ConfigureAwait(false);
    }

    /// <summary>Makes a root that uses a node.</summary>
    /// <param name="node">The node.</param>
    /// <param name="description">Who uses it, for messages: <c>export 'vda'</c>.</param>
    public BlockBackend CreateBackend(BlockNode node, string description) => new(_drain, node, description);

    /// <summary>
    /// Begins a drained section: waits until no request is under way and holds new ones back until disposal.
    /// </summary>
    public async ValueTask<DrainedSection> DrainAsync(CancellationToken cancellationToken = default)
    {
        await _oneDrain.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            await _drain.ShutAsync(cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            _oneDrain.Release();
            throw;
        }

        return new DrainedSection(this);
    }

    /// <summary>
    /// Points every parent of <paramref name="from"/> at <paramref name="to"/>, except those that
    /// <paramref name="to"/> reaches itself: they would close a loop. Only inside a drained section.
    /// </summary>
    /// <returns>The edges that were moved, so that the change can be undone.</returns>
    public static IReadOnlyList<BlockChild> ReplaceParents(BlockNode from, BlockNode to)
    {
        var below = Descendants(to);
        List<BlockChild> moved = [];
        foreach (var parent in from.Parents)
        {
            if (parent.Owner is null || !below.Contains(parent.Owner))
            {
                parent.Replace(to);
                moved.Add(parent);
            }
        }

        return moved;
    }

    /// <summary>A node and everything below it.</summary>
    public static IReadOnlySet<BlockNode> Descendants(BlockNode node)
    {
        HashSet<BlockNode> seen = [];
        Stack<BlockNode> left = new([node]);
        while (left.TryPop(out var next))
        {
            if (seen.Add(next))
            {
                foreach (var child in next.Children)
                {
                    left.Push(child.Node);
                }
            }
        }

        return seen;
    }

    /// <summary>Disposes every node, users before what they use.</summary>
    public async ValueTask DisposeAsync()
    {
        while (true)
        {
            BlockNode? next;
            lock (_gate)
            {
                next = _order.Select(name => _nodes[name]).FirstOrDefault(node => node.Parents.Count == 0)
                    ?? _order.Select(name => _nodes[name]).FirstOrDefault();
                if (next is null)
                {
                    break;
                }

                _nodes.Remove(next.Name);
                _order.Remove(next.Name);
            }

            await next.DisposeAsync().ConfigureAwait(false);
        }

        _oneDrain.Dispose();
    }

    /// <summary>
    /// Enters as a request that comes from no backend, a job's step; a drained section holds it back.
    /// </summary>
    internal ValueTask EnterRequestAsync(CancellationToken cancellationToken) => _drain.EnterAsync(cancellationToken);

    internal void ExitRequest() => _drain.Exit();

    internal void EndDrain()
    {
        _drain.Open();
        _oneDrain.Release();
    }
}
