using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;

namespace Tidemark.Backup.Planning;

/// <summary>Finds the nodes of a virtual machine's disks, and who else works on them.</summary>
internal static class DomainNodes
{
    /// <summary>The disk's own node: the active layer, below every filter.</summary>
    internal static GraphNode? Find(GraphSnapshot graph, DomainDisk disk, out string problem)
    {
        var wanted = disk.NodeName ?? disk.Name;
        if (graph.Find(wanted) is null)
        {
            problem = $"there is no node '{wanted}' for disk '{disk.Name}'; the hypervisor has "
                + DiskFinder.ListNodes(graph);
            return null;
        }

        return graph.TrySkipFilters(wanted, out var node, out problem) ? node : null;
    }

    /// <summary>What else works on a node: a job's filter directly over it. A second job would be refused.</summary>
    internal static string? OtherJob(GraphSnapshot graph, GraphNode node)
    {
        var filter = graph.Nodes.FirstOrDefault(other =>
            other.Driver is "backup-top" or "mirror_top" or "commit_top" or "copy-before-write"
            && other.HasMadeUpName
            && (other.FileNode ?? other.BackingNode) == node.Name);
        const int Most = 5;
        return filter is null ? null : $"{filter.Driver} filter '{filter.Name}' over node '{node.Name}'; jobs: "
            + (graph.Jobs.Count == 0
                ? "none listed"
                : string.Join(", ", graph.Jobs.Take(Most).Select(job => $"'{job.Id}'")));
    }
}
