using Tidemark.Backup.Definitions;

namespace Tidemark.Backup.Graph;

/// <summary>Finds the disks of a backup: those asked for, or all that a guest device or a writable export
/// uses.</summary>
/// <remarks>
/// While a job runs the hypervisor names the job's filter (<c>#block…</c>) as the node of the guest's export or device,
/// so the way to a disk always leads through the filters.
/// </remarks>
public static class DiskFinder
{
    /// <summary>The disks that are in use by a guest, named by their node names and in the order of these
    /// names.</summary>
    /// <param name="graph">The graph.</param>
    /// <param name="problem">Why one of them cannot be resolved; null when all were.</param>
    public static IReadOnlyList<DiskRoot> FindUsed(GraphSnapshot graph, out string? problem)
    {
        problem = null;
        List<DiskRoot> found = [];
        foreach (var (root, device) in Roots(graph))
        {
            if (RunNames.RunOfTemporary(root) is not null)
            {
                continue;
            }

            if (!graph.TrySkipFilters(root, out var node, out var reason))
            {
                problem ??= reason;
                continue;
            }

            if (found.TrueForAll(disk => disk.Node.Name != node.Name))
            {
                found.Add(new DiskRoot(NameOf(node, device), node));
            }
        }

        // The hypervisor lists nodes in an order of its own (QEMU: the newest first); names give one that stays.
        found.Sort((a, b) => string.CompareOrdinal(a.Name, b.Name));
        return found;
    }

    /// <summary>The disk that was asked for by a node's name, or a device's.</summary>
    /// <param name="graph">The graph.</param>
    /// <param name="selection">The name, and the node if it has another name.</param>
    /// <param name="problem">Why there is no such disk.</param>
    public static DiskRoot? Find(GraphSnapshot graph, DiskSelection selection, out string problem)
    {
        var wanted = selection.NodeName ?? selection.Name;
        var start = graph.Find(wanted)?.Name
            ?? graph.Devices.FirstOrDefault(device => device.Device == wanted || device.QomPath == wanted)?.NodeName;
        if (start is null)
        {
            problem = $"there is no node '{wanted}'; the hypervisor has {ListNodes(graph)}";
            return null;
        }

        return graph.TrySkipFilters(start, out var node, out problem) ? new DiskRoot(selection.Name, node) : null;
    }

    /// <summary>The names of the nodes that a user could mean, for messages.</summary>
    public static string ListNodes(GraphSnapshot graph)
    {
        const int Most = 20;
        var names = graph.Nodes.Where(node => !FilterDrivers.IsFilter(node.Driver)).Select(node =>
            $"'{node.Name}'").ToList();
        var shown = string.Join(", ", names.Take(Most));
        return names.Count == 0 ? "none" : names.Count > Most ? $"{shown} and {names.Count - Most} more" : shown;
    }

    private static List<(string Root, GraphDevice? Device)> Roots(GraphSnapshot graph)
    {
        List<(string Root, GraphDevice? Device)> roots = [];
        foreach (var device in graph.Devices)
        {
            if (device.QomPath is not null && !device.IsReadOnly)
            {
                roots.Add((device.NodeName, device));
            }
        }

        foreach (var export in graph.Exports)
        {
            // query-block-exports does not say whether an export is writable. The graph's edges do, by the permission;
            // without them a node that was opened for writing counts as written to.
            if (RunNames.RunOfTemporary(export.Id) is null
                && graph.Find(export.NodeName) is { IsReadOnly: false } node && node.HasWriter != false)
            {
                roots.Add((export.NodeName, null));
            }
        }

        return roots;
    }

    // A name that the hypervisor made up changes at its next start, and a disk's name must not: the device's is used.
    private static string NameOf(GraphNode node, GraphDevice? device)
    {
        if (!node.HasMadeUpName || device is null)
        {
            return node.Name;
        }

        return device.Device.Length > 0 ? device.Device : device.QomPath!.Split('/',
            StringSplitOptions.RemoveEmptyEntries)[^1];
    }
}
