using System.Text.Json;

namespace Tidemark.Backup.Graph;

/// <summary>The edges that <c>x-debug-query-block-graph</c> reports (QAPI <c>XDbgBlockGraph</c>).</summary>
internal sealed class GraphEdges
{
    private static readonly Dictionary<string, string> s_none = [];

    private readonly Dictionary<string, Dictionary<string, string>> _children = new(StringComparer.Ordinal);
    private readonly HashSet<string> _written = new(StringComparer.Ordinal);

    private GraphEdges()
    {
    }

    /// <summary>The children of a node: child name (<c>file</c>, <c>backing</c>, <c>target</c>…) to node
    /// name.</summary>
    internal IReadOnlyDictionary<string, string> ChildrenOf(string node) => _children.GetValueOrDefault(node, s_none);

    /// <summary>Whether a root (an export's or a device's backend) holds the permission to write to the node.</summary>
    internal bool HasWriter(string node) => _written.Contains(node);

    internal static GraphEdges Parse(JsonElement graph)
    {
        const string Where = "x-debug-query-block-graph";
        Dictionary<long, (string Name, string Type)> ids = [];
        foreach (var node in GraphField.Required(graph, "nodes", JsonValueKind.Array, Where).EnumerateArray())
        {
            ids[GraphField.Number(node, "id", Where)] =
                (GraphField.Text(node, "name", Where), GraphField.Text(node, "type", Where));
        }

        var result = new GraphEdges();
        foreach (var edge in GraphField.Required(graph, "edges", JsonValueKind.Array, Where).EnumerateArray())
        {
            if (!ids.TryGetValue(GraphField.Number(edge, "parent", Where), out var parent)
                || !ids.TryGetValue(GraphField.Number(edge, "child", Where), out var child))
            {
                throw new GraphException($"an edge in {Where} names a node that is not listed");
            }

            if (parent.Type == "block-driver")
            {
                if (!result._children.TryGetValue(parent.Name, out var children))
                {
                    result._children[parent.Name] = children = new Dictionary<string, string>(StringComparer.Ordinal);
                }

                children[GraphField.Text(edge, "name", Where)] = child.Name;
            }
            else if (parent.Type == "block-backend" && Holds(edge, "write"))
            {
                result._written.Add(child.Name);
            }
        }

        return result;
    }

    private static bool Holds(JsonElement edge, string permission)
    {
        var list = GraphField.Optional(edge, "perm", JsonValueKind.Array, "an edge in x-debug-query-block-graph");
        return GraphField.Items(list, "'perm'").Any(item =>
            item.ValueKind == JsonValueKind.String && item.GetString() == permission);
    }
}
