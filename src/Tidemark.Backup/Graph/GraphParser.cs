using System.Text.Json;

namespace Tidemark.Backup.Graph;

/// <summary>Makes a <see cref="GraphSnapshot"/> from what the hypervisor replied.</summary>
/// <remarks>
/// <para>Fields that are not known are ignored, so newer hypervisors are understood; fields that are needed and missing
/// are an error that names them.</para>
/// <para>Which node is whose child is taken from the first of these that the hypervisor has:</para>
/// <list type="number">
/// <item><c>x-debug-query-block-graph</c> (QEMU from 4.0, its storage daemon, the embedded engine): every edge.</item>
/// <item><c>children</c> in <c>query-named-block-nodes</c> (newer QEMU).</item>
/// <item>File names: <c>image.backing-image.filename</c> or <c>backing_file</c> names exactly one other node's image.
/// A name that fits none or several leaves the link <see cref="NodeLink.Unknown"/>, and then no bitmap of the chain is
/// trusted, because a layer that is not seen might hold dirty bits.</item>
/// </list>
/// </remarks>
public static class GraphParser
{
    private const string Nodes = "query-named-block-nodes";

    /// <summary>Parses the replies.</summary>
    /// <exception cref="GraphException">A field is missing or of the wrong type.</exception>
    public static GraphSnapshot Parse(GraphReplies replies)
    {
        List<ParsedNode> parsed = [];
        foreach (var element in GraphField.Items(replies.NamedBlockNodes, $"the reply of {Nodes}"))
        {
            parsed.Add(ParseNode(element));
        }

        var edges = replies.BlockGraph.ValueKind == JsonValueKind.Undefined ? null
            : GraphEdges.Parse(replies.BlockGraph);
        var nodes = parsed.ConvertAll(node => Link(node, parsed, edges));
        return new GraphSnapshot(
            nodes, ParseExports(replies.BlockExports), ParseDevices(replies.Block), ParseJobs(replies.Jobs));
    }

    /// <summary>Parses the list that <c>query-jobs</c> returned.</summary>
    /// <exception cref="GraphException">A field is missing or of the wrong type.</exception>
    public static IReadOnlyList<GraphJob> ParseJobs(JsonElement jobs)
    {
        List<GraphJob> result = [];
        foreach (var element in GraphField.Items(jobs, "the reply of query-jobs"))
        {
            const string Where = "a job in query-jobs";
            result.Add(new GraphJob(
                GraphField.Text(element, "id", Where),
                GraphField.Text(element, "type", Where),
                GraphField.Text(element, "status", Where),
                GraphField.OptionalText(element, "error", Where),
                GraphField.Number(element, "current-progress", Where),
                GraphField.Number(element, "total-progress", Where)));
        }

        return result;
    }

    private static ParsedNode ParseNode(JsonElement element)
    {
        var name = GraphField.Text(element, "node-name", $"a node in {Nodes}");
        var where = $"node '{name}' in {Nodes}";
        var image = GraphField.Required(element, "image", JsonValueKind.Object, where);
        var inner = $"the image of {where}";
        var backing = GraphField.Optional(image, "backing-image", JsonValueKind.Object, inner);
        var specific = GraphField.Optional(image, "format-specific", JsonValueKind.Object, inner);
        string? compat = null;
        var hasSubclusters = false;
        if (specific.ValueKind == JsonValueKind.Object && GraphField.OptionalText(specific, "type", inner) == "qcow2")
        {
            var data = GraphField.Required(specific, "data", JsonValueKind.Object, inner);
            compat = GraphField.Text(data, "compat", inner);
            hasSubclusters = GraphField.Flag(data, "extended-l2", inner, absent: false);
        }

        return new ParsedNode(
            new GraphNode
            {
                Name = name,
                Driver = GraphField.Text(element, "drv", where),
                VirtualSize = GraphField.Number(image, "virtual-size", inner),
                IsReadOnly = GraphField.Flag(element, "ro", where, absent: false),
                Filename = ImageFileName.Plain(GraphField.OptionalText(image, "filename", inner) ?? ""),
                BackingFile = ImageFileName.Plain(GraphField.OptionalText(image, "full-backing-filename", inner)
                    ?? GraphField.OptionalText(image, "backing-filename", inner) ?? ""),
                Compat = compat,
                ClusterSize = GraphField.OptionalNumber(image, "cluster-size", inner),
                HasSubclusters = hasSubclusters,
                Snapshots = ParseSnapshots(image, inner),
                Bitmaps = ParseBitmaps(element, where),
            },
            ImageFileName.Plain((backing.ValueKind == JsonValueKind.Object
                ? GraphField.OptionalText(backing, "filename", inner)
                : GraphField.OptionalText(element, "backing_file", where)) ?? ""),
            backing.ValueKind == JsonValueKind.Object ? GraphField.OptionalText(backing, "format", inner) : null,
            ParseChildren(element, where));
    }

    private static List<InternalSnapshot> ParseSnapshots(JsonElement image, string where)
    {
        List<InternalSnapshot> snapshots = [];
        var list = GraphField.Optional(image, "snapshots", JsonValueKind.Array, where);
        foreach (var element in GraphField.Items(list, $"'snapshots' of {where}"))
        {
            snapshots.Add(new InternalSnapshot(
                GraphField.Text(element, "name", $"a snapshot in {where}"),
                GraphField.OptionalNumber(element, "vm-state-size", $"a snapshot in {where}") ?? 0));
        }

        return snapshots;
    }

    private static List<NodeBitmap> ParseBitmaps(JsonElement node, string where)
    {
        List<NodeBitmap> bitmaps = [];
        var list = GraphField.Optional(node, "dirty-bitmaps", JsonValueKind.Array, where);
        foreach (var element in GraphField.Items(list, $"'dirty-bitmaps' of {where}"))
        {
            // Bitmaps without a name belong to jobs.
            if (GraphField.OptionalText(element, "name", where) is not { Length: > 0 } name)
            {
                continue;
            }

            var what = $"bitmap '{name}' of {where}";
            bitmaps.Add(GraphVersions.ReadBitmap(element, name, what));
        }

        return bitmaps;
    }

    private static Dictionary<string, string>? ParseChildren(JsonElement node, string where)
    {
        var list = GraphField.Optional(node, "children", JsonValueKind.Array, where);
        if (list.ValueKind == JsonValueKind.Undefined)
        {
            return null;
        }

        Dictionary<string, string> children = new(StringComparer.Ordinal);
        foreach (var element in GraphField.Items(list, $"'children' of {where}"))
        {
            if (GraphField.OptionalText(element, "node-name", where) is { } child)
            {
                children[GraphField.Text(element, "child", where)] = child;
            }
        }

        return children;
    }

    private static GraphNode Link(ParsedNode node, List<ParsedNode> all, GraphEdges? edges)
    {
        if (edges is not null)
        {
            return WithChildren(node.Node, edges.ChildrenOf(node.Node.Name)) with
            {
                HasWriter = edges.HasWriter(node.Node.Name),
            };
        }

        return node.Children is not null ? WithChildren(node.Node, node.Children) : ByFilename(node, all);
    }

    private static GraphNode WithChildren(GraphNode node, IReadOnlyDictionary<string, string> children)
    {
        var backing = children.GetValueOrDefault("backing");
        var file = children.GetValueOrDefault("file");
        return node with
        {
            BackingNode = backing,
            Backing = backing is null ? NodeLink.None : NodeLink.Known,
            FileNode = file,
            File = file is null ? NodeLink.None : NodeLink.Known,
        };
    }

    private static GraphNode ByFilename(ParsedNode node, List<ParsedNode> all)
    {
        var result = node.Node;
        if (FilterDrivers.IsFilter(result.Driver))
        {
            // A filter shows its child's file name. Of the nodes with that name the child is the one that nothing
            // format-like stands above: the format node if there is one, otherwise the protocol node.
            var child = Only(all, other => other.Node.Name != result.Name && other.Node.Filename == result.Filename
                && !FilterDrivers.IsFilter(other.Node.Driver) && !GraphVersions.IsProtocol(other.Node.Driver))
                ?? Only(all, other => other.Node.Name != result.Name && other.Node.Filename == result.Filename
                    && !FilterDrivers.IsFilter(other.Node.Driver));
            return result with { FileNode = child, File = child is null ? NodeLink.Unknown : NodeLink.Known };
        }

        if (node.BackingFilename.Length == 0)
        {
            return result;
        }

        var backing = Only(all, other => other.Node.Name != result.Name && other.Node.Filename == node.BackingFilename
            && (node.BackingFormat is null
                ? !GraphVersions.IsProtocol(other.Node.Driver)
                : other.Node.Driver == node.BackingFormat));
        return result with { BackingNode = backing, Backing = backing is null ? NodeLink.Unknown : NodeLink.Known };
    }

    private static string? Only(List<ParsedNode> all, Func<ParsedNode, bool> fits)
    {
        string? found = null;
        foreach (var node in all)
        {
            if (fits(node))
            {
                if (found is not null)
                {
                    return null;
                }

                found = node.Node.Name;
            }
        }

        return found;
    }

    /// <summary>Parses the list that <c>query-block-exports</c> returned.</summary>
    /// <exception cref="GraphException">A field is missing or of the wrong type.</exception>
    public static IReadOnlyList<GraphExport> ParseExports(JsonElement exports)
    {
        List<GraphExport> result = [];
        foreach (var element in GraphField.Items(exports, "the reply of query-block-exports"))
        {
            const string Where = "an export in query-block-exports";
            result.Add(new GraphExport(
                GraphField.Text(element, "id", Where),
                GraphField.Text(element, "node-name", Where),
                GraphField.Text(element, "type", Where)));
        }

        return result;
    }

    private static List<GraphDevice> ParseDevices(JsonElement block)
    {
        List<GraphDevice> result = [];
        foreach (var element in GraphField.Items(block, "the reply of query-block"))
        {
            const string Where = "a device in query-block";
            var inserted = GraphField.Optional(element, "inserted", JsonValueKind.Object, Where);
            if (inserted.ValueKind != JsonValueKind.Object
                || GraphField.OptionalText(inserted, "node-name", Where) is not { Length: > 0 } node)
            {
                continue;
            }

            result.Add(new GraphDevice(
                GraphField.OptionalText(element, "device", Where) ?? "",
                GraphField.OptionalText(element, "qdev", Where),
                node,
                GraphField.Flag(inserted, "ro", Where, absent: false)));
        }

        return result;
    }

    private sealed record ParsedNode(
        GraphNode Node, string BackingFilename, string? BackingFormat, IReadOnlyDictionary<string, string>? Children);
}
