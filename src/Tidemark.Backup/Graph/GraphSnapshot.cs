using System.Diagnostics.CodeAnalysis;

namespace Tidemark.Backup.Graph;

/// <summary>
/// The hypervisor's graph at one moment, typed: nodes, backing chains through filters, bitmaps with their flags, and
/// who uses what. Immutable. <see cref="GraphParser"/> makes it from the replies of QMP commands.
/// </summary>
public sealed class GraphSnapshot
{
    private readonly Dictionary<string, GraphNode> _nodes;

    /// <summary>Creates a snapshot.</summary>
    /// <exception cref="GraphException">Two nodes have the same name.</exception>
    public GraphSnapshot(
        IReadOnlyList<GraphNode> nodes,
        IReadOnlyList<GraphExport> exports,
        IReadOnlyList<GraphDevice> devices,
        IReadOnlyList<GraphJob> jobs)
    {
        Nodes = nodes;
        Exports = exports;
        Devices = devices;
        Jobs = jobs;
        _nodes = new Dictionary<string, GraphNode>(StringComparer.Ordinal);
        foreach (var node in nodes)
        {
            if (!_nodes.TryAdd(node.Name, node))
            {
                throw new GraphException($"query-named-block-nodes lists the node '{node.Name}' twice");
            }
        }
    }

    /// <summary>The nodes in the hypervisor's order.</summary>
    public IReadOnlyList<GraphNode> Nodes { get; }

    /// <summary>The exports.</summary>
    public IReadOnlyList<GraphExport> Exports { get; }

    /// <summary>The guest devices that hold a medium.</summary>
    public IReadOnlyList<GraphDevice> Devices { get; }

    /// <summary>The jobs, the concluded ones included.</summary>
    public IReadOnlyList<GraphJob> Jobs { get; }

    /// <summary>The node of that name, or null.</summary>
    public GraphNode? Find(string name) => _nodes.GetValueOrDefault(name);

    /// <summary>The first node below (or at) a node that is no filter.</summary>
    /// <returns>False when the way down is not known or ends; <paramref name="reason"/> says where.</returns>
    public bool TrySkipFilters(string name, [NotNullWhen(true)] out GraphNode? node, out string reason)
    {
        reason = "";
        // A graph has no loops, but what a peer says might have: a path is never longer than the list of nodes.
        for (var steps = 0; steps <= Nodes.Count; steps++)
        {
            node = Find(name);
            if (node is null)
            {
                reason = $"there is no node '{name}'";
                return false;
            }

            if (!FilterDrivers.IsFilter(node.Driver))
            {
                return true;
            }

            var child = FilterDrivers.IsOverBacking(node.Driver) ? node.BackingNode : node.FileNode;
            if (child is null)
            {
                reason = $"the hypervisor does not say which node lies under the {node.Driver} filter '{node.Name}'";
                node = null;
                return false;
            }

            name = child;
        }

        reason = $"the nodes under '{name}' form a loop";
        node = null;
        return false;
    }

    /// <summary>
    /// The backing chain of a node: itself and every node that answers for what it has not allocated, active layer
    /// first, filters left out.
    /// </summary>
    public NodeChain ChainOf(GraphNode top)
    {
        List<GraphNode> layers = [];
        var node = top;
        while (true)
        {
            layers.Add(node);
            if (layers.Count > Nodes.Count)
            {
                return new NodeChain(layers, $"the backing chain of '{top.Name}' forms a loop");
            }

            if (node.Backing == NodeLink.None)
            {
                return new NodeChain(layers, null);
            }

            if (node.BackingNode is null)
            {
                return new NodeChain(layers, $"the hypervisor does not say which node is the backing of '{node.Name}'");
            }

            if (!TrySkipFilters(node.BackingNode, out var next, out var reason))
            {
                return new NodeChain(layers, reason);
            }

            node = next;
        }
    }
}
