using Tidemark.Blocks.Graph;
using Tidemark.Blocks.Nodes;
using Tidemark.Qmp;

namespace Tidemark.Engine.Nodes;

/// <summary>The nodes of one engine with what is known of each. Guarded by the command gate.</summary>
internal sealed class NodeSet
{
    /// <summary>How many nodes one engine holds.</summary>
    internal const int MaximumNodes = 4096;

    private readonly Dictionary<BlockNode, NodeEntry> _entries = [];
    private readonly List<RootUse> _roots = [];

    internal NodeSet(BlockGraph graph)
    {
        Graph = graph;
        Permissions = new Permissions(this);
    }

    /// <summary>The nodes and edges.</summary>
    internal BlockGraph Graph { get; }

    /// <summary>Who may write where.</summary>
    internal Permissions Permissions { get; }

    /// <summary>Every node, the newest first, as QEMU lists them.</summary>
    internal IEnumerable<NodeEntry> Entries => Graph.Nodes.Reverse().Select(Get);

    /// <summary>The users of nodes that are no nodes.</summary>
    internal IReadOnlyList<RootUse> Roots => _roots;

    /// <summary>What is known of a node, or null.</summary>
    internal NodeEntry? Find(BlockNode node) => _entries.GetValueOrDefault(node);

    /// <summary>What is known of a node.</summary>
    internal NodeEntry Get(BlockNode node) => _entries[node];

    /// <summary>A node by its name.</summary>
    /// <exception cref="BlockException">There is none.</exception>
    internal NodeEntry Get(string name) => Get(Graph.Get(name));

    /// <summary>Takes a node in.</summary>
    /// <exception cref="QmpException">The name is taken or malformed. The node stays the caller's.</exception>
    internal void Add(NodeEntry entry)
    {
        if (_entries.Count >= MaximumNodes)
        {
            throw Refuse($"{_entries.Count} nodes exist already: the limit is {MaximumNodes}");
        }

        Graph.Add(entry.Node);
        _entries.Add(entry.Node, entry);
    }

    /// <summary>Refuses a name that a new node cannot have.</summary>
    internal void CheckName(string name)
    {
        if (!Names.IsWellFormed(name))
        {
            throw Refuse($"Invalid node-name: '{name}'");
        }

        if (name.Length > Names.MaximumNodeName)
        {
            throw Refuse("Node name too long");
        }

        if (Graph.Find(name) is not null)
        {
            throw Refuse($"Duplicate nodes with node-name='{name}'");
        }
    }

    /// <summary><c>blockdev-del</c>.</summary>
    internal async ValueTask DeleteAsync(string name)
    {
        var node = Graph.Find(name) ?? throw Refuse($"Failed to find node with node-name='{name}'");
        var entry = Get(node);
        if (entry.JobType is { } job)
        {
            throw Refuse($"Node '{name}' is busy: block device is in use by block job: {job}");
        }

        if (node.Parents.Any(parent => parent.Owner is null))
        {
            throw Refuse($"Node {name} is in use");
        }

        if (!entry.IsOwnedByMonitor)
        {
            throw Refuse($"Node {name} is not owned by the monitor");
        }

        if (node.Parents.Count > 0)
        {
            throw Refuse($"Block device {name} is in use");
        }

        await RemoveAsync(entry).ConfigureAwait(false);
    }

    /// <summary>
    /// Takes a node out and closes it, and after it what was made for it alone. Every node of the group has its turn;
    /// the first error is thrown at the end.
    /// </summary>
    internal async ValueTask RemoveAsync(NodeEntry entry)
    {
        Exception? first = null;
        _entries.Remove(entry.Node);
        try
        {
            await Graph.RemoveAsync(entry.Node.Name).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is BlockException or IOException)
        {
            first = exception;
        }

        foreach (var owned in entry.Owned)
        {
            // It may have gone before, with a job that took it out of the chain.
            if (owned.Node.Parents.Count > 0 || Find(owned.Node) is null)
            {
                continue;
            }

            try
            {
                await RemoveAsync(owned).ConfigureAwait(false);
            }
            catch (Exception exception) when (exception is BlockException or IOException)
            {
                first ??= exception;
            }
        }

        if (first is not null)
        {
            throw new BlockException(
                BlockErrorKind.Io, $"node '{entry.Node.Name}' was closed with an error: {first.Message}", first);
        }
    }

    /// <summary>Closes every node, users before what they use. All have their turn; the first error is thrown at the
    /// end.</summary>
    internal async ValueTask CloseAllAsync()
    {
        Exception? first = null;
        while (Graph.Nodes.FirstOrDefault(node => node.Parents.Count == 0) is { } node)
        {
            try
            {
                await RemoveAsync(Get(node)).ConfigureAwait(false);
            }
            catch (BlockException exception)
            {
                first ??= exception;
            }
        }

        if (first is not null)
        {
            throw first;
        }
    }

    /// <summary>Notes a user that is no node.</summary>
    internal void AddRoot(RootUse root) => _roots.Add(root);

    /// <summary>Forgets a user that is no node.</summary>
    internal void RemoveRoot(BlockBackend backend) => _roots.RemoveAll(root => ReferenceEquals(root.Backend, backend));

    private static QmpException Refuse(string description) => new(QmpException.GenericError, description);
}
