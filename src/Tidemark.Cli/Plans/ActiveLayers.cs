using Tidemark.Backup.Graph;

namespace Tidemark.Cli.Plans;

/// <summary>The disks' active layers in a graph of which nothing else is known: the images under no other
/// image.</summary>
internal static class ActiveLayers
{
    /// <summary>The layers, by their names.</summary>
    public static IReadOnlyList<GraphNode> Of(GraphSnapshot graph)
    {
        HashSet<string> below = new(StringComparer.Ordinal);
        foreach (var node in graph.Nodes)
        {
            foreach (var child in new[] { node.BackingNode, node.FileNode })
            {
                if (child is not null && !FilterDrivers.IsFilter(node.Driver))
                {
                    below.Add(child);
                }
            }
        }

        // Where nothing tells who has which file, an image and the file under it have the same name.
        var formats = graph.Nodes.Where(node => node.Driver is "qcow2" or "raw").ToList();
        return
        [
            .. graph.Nodes
                .Where(node => !FilterDrivers.IsFilter(node.Driver) && !below.Contains(node.Name))
                .Where(node => formats.Contains(node)
                    || !formats.Exists(format => format.Filename == node.Filename && node.Filename.Length > 0))
                .Where(node => node.Driver is not "snapshot-access")
                .OrderBy(node => node.Name, StringComparer.Ordinal),
        ];
    }
}
