// Which disks a domain has, and what they are called.
//
// A hypervisor knows nodes, devices and exports, but no disk called 'vda'. A disk is what a guest's device or a
// writable export uses; where nothing uses anything (an image at rest), it is a node that is no other node's child.
//
// Its name is the active layer's node name when it is first seen: that is what its owner chose. The name then stays,
// because an external snapshot puts another node on top, and definitions of checkpoints must still mean the same disk:
// see DiskNaming.

using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;

namespace Tidemark.Backup.Domains;

/// <summary>Finds the disks of a domain.</summary>
internal static class AttachedDiskFinder
{
    private const string DevicePrefix = "device:";
    private const string ExportPrefix = "export:";
    private const string NodePrefix = "node:";

    /// <summary>The disks, in the order of their names.</summary>
    /// <param name="graph">The graph.</param>
    /// <param name="names">The names that were given before, by <see cref="AttachedDisk.RootKey"/> and by file.</param>
    /// <param name="isTemporary">Which nodes and exports belong to a backup.</param>
    /// <param name="problem">Why one of them cannot be resolved; null when all were.</param>
    public static IReadOnlyList<AttachedDisk> Find(
        GraphSnapshot graph,
        IReadOnlyDictionary<string, string> names,
        Func<string, bool> isTemporary,
        out string? problem)
    {
        problem = null;
        List<(Root Root, GraphNode Node)> found = [];
        foreach (var root in Roots(graph, isTemporary))
        {
            if (!graph.TrySkipFilters(root.Node, out var node, out var reason))
            {
                problem ??= reason;
                continue;
            }

            if (!isTemporary(node.Name) && !found.Exists(other => other.Node.Name == node.Name))
            {
                found.Add((root, node));
            }
        }

        string[] given = DiskNaming.Assign(
            [
                .. found.Select(one => new DiskNaming.Unnamed(
                    one.Root.Key,
                    one.Node,
                    [.. graph.ChainOf(one.Node).Layers.Select(layer => layer.Name)],
                    one.Root.Fallback)),
            ],
            names);
        List<AttachedDisk> disks = [.. found.Select((one, index) => Attached(one.Root, one.Node, given[index]))];
        if (disks.Count == 0)
        {
            disks.AddRange(Unused(graph, names, isTemporary));
        }

        disks.Sort((a, b) => string.CompareOrdinal(a.Name, b.Name));
        return disks;
    }

    /// <summary>The disk of that name, or the one disk that has it as another name.</summary>
    public static AttachedDisk? Select(IReadOnlyList<AttachedDisk> disks, string name)
    {
        if (disks.FirstOrDefault(disk => disk.Name == name) is { } exact)
        {
            return exact;
        }

        var others = disks.Where(disk => disk.Aliases.Contains(name)).Take(2).ToList();
        return others.Count == 1 ? others[0] : null;
    }

    private static List<Root> Roots(GraphSnapshot graph, Func<string, bool> isTemporary)
    {
        List<Root> roots = [];
        foreach (var device in graph.Devices)
        {
            if (device.QomPath is { } path)
            {
                string[] parts = path.Split('/', StringSplitOptions.RemoveEmptyEntries);
                roots.Add(new Root(
                    device.NodeName,
                    DevicePrefix + path,
                    device.IsReadOnly,
                    device.Device.Length > 0 ? device.Device : DeviceName(parts, path),
                    [.. parts.Where(part => part.Length > 0 && part is not ("machine" or "peripheral"
                        or "virtio-backend" or "peripheral-anon")), path]));
            }
        }

        foreach (var export in graph.Exports)
        {
            // query-block-exports does not say whether an export is writable. The graph's edges do, by the permission;
            // without them a node that was opened for writing counts as written to.
            if (RunNames.RunOfTemporary(export.Id) is null && !isTemporary(export.Id)
                && graph.Find(export.NodeName) is { IsReadOnly: false } node && node.HasWriter != false)
            {
                roots.Add(new Root(
                    export.NodeName, ExportPrefix + export.Id, IsReadOnly: false, export.Id, [export.Id]));
            }
        }

        return roots;
    }

    /// <summary>The key of a disk that nothing uses.</summary>
    internal static string KeyOfNode(string node) => $"{NodePrefix}{node}";

    /// <summary>Whether a key is that of a device or an export.</summary>
    internal static bool IsKeyOfUser(string key) => key.StartsWith(DevicePrefix, StringComparison.Ordinal)
        || key.StartsWith(ExportPrefix, StringComparison.Ordinal);

    private static string DeviceName(string[] parts, string path) =>
        parts.LastOrDefault(part => part != "virtio-backend") ?? path;

    private static IEnumerable<AttachedDisk> Unused(
        GraphSnapshot graph, IReadOnlyDictionary<string, string> names, Func<string, bool> isTemporary)
    {
        // What a backup has put over a disk makes it no lower layer.
        var children = graph.Nodes.Where(node => !isTemporary(node.Name))
            .SelectMany(node => new[] { node.BackingNode, node.FileNode })
            .Where(name => name is not null).ToHashSet(StringComparer.Ordinal);
        foreach (var top in graph.Nodes)
        {
            if (children.Contains(top.Name) || isTemporary(top.Name)
                || !graph.TrySkipFilters(top.Name, out var node, out _))
            {
                continue;
            }

            var key = KeyOfNode(node.Name);
            yield return new AttachedDisk
            {
                Name = names.GetValueOrDefault(key) ?? node.Name,
                Node = node,
                RootNode = top.Name,
                RootKey = key,
                IsReadOnly = node.IsReadOnly,
                Aliases = node.Filename.Length > 0 ? [node.Name, node.Filename] : [node.Name],
            };
        }
    }

    private static AttachedDisk Attached(Root root, GraphNode node, string name) => new()
    {
        Name = name,
        Node = node,
        RootNode = root.Node,
        RootKey = root.Key,
        IsReadOnly = root.IsReadOnly,
        Aliases = [node.Name, .. root.Aliases, .. node.Filename.Length > 0 ? [node.Filename] : (string[])[]],
    };

    private sealed record Root(
        string Node, string Key, bool IsReadOnly, string Fallback, IReadOnlyList<string> Aliases);
}
