using System.Text.Json.Nodes;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Planning;

namespace Tidemark.Backup.Domains;

/// <summary>The steps that make a new image and open it: an overlay, or the mirror of a copy.</summary>
internal static class LayerImage
{
    /// <summary>Makes the steps.</summary>
    /// <param name="names">The change's names.</param>
    /// <param name="ordinal">The disk's number in the change.</param>
    /// <param name="path">The new image's full path.</param>
    /// <param name="format"><c>qcow2</c> or <c>raw</c>.</param>
    /// <param name="disk">The disk's active layer: its size, its cluster size, its owner.</param>
    /// <param name="backing">The layer that the image's header names below it; null for none.</param>
    /// <param name="openBacking">The node below it when it is opened; null for none yet.</param>
    /// <param name="reuse">Whether the image exists and is used as it is.</param>
    internal static IEnumerable<PlanStep> Steps(
        ChangeNames names,
        int ordinal,
        string path,
        string format,
        GraphNode disk,
        GraphNode? backing,
        string? openBacking,
        bool reuse)
    {
        var fileNode = names.FileNode(ordinal);
        var isDevice = path.StartsWith("/dev/", StringComparison.Ordinal);
        if (!reuse && !isDevice)
        {
            yield return new PlanStep.CreateFile(
                $"create '{path}'", path, disk.Filename, [new UndoAction.TargetFile(path)]);
        }

        if (!reuse && !isDevice && format == "raw")
        {
            yield return StepParts.Create(
                $"make '{path}' as large as the disk",
                names.CreateJob(ordinal),
                new JsonObject { ["driver"] = "file", ["filename"] = path, ["size"] = disk.VirtualSize });
        }

        yield return StepParts.OpenFile($"open '{path}'", fileNode, path, isDevice);
        if (!reuse && format == "qcow2")
        {
            yield return StepParts.Create(
                $"format '{path}'", names.CreateJob(ordinal), Format(fileNode, disk, backing));
        }

        JsonObject options = new()
        {
            ["driver"] = format,
            ["node-name"] = names.Node(ordinal),
            ["file"] = fileNode,
            ["read-only"] = false,
        };
        if (format == "qcow2")
        {
            options["backing"] = openBacking;
            options["discard"] = "unmap";
        }

        yield return StepParts.Open($"open the {format} in '{path}'", names.Node(ordinal), options);
    }

    /// <summary>Refuses what cannot be an image's path or format.</summary>
    internal static void Check(string path, string format)
    {
        if (!path.StartsWith('/'))
        {
            throw new BackupException(
                BackupErrorKind.Request, $"'{path}' is no full path: the hypervisor has another current directory");
        }

        if (format is not ("qcow2" or "raw"))
        {
            throw new BackupException(
                BackupErrorKind.Request, $"an image of the format '{format}' cannot be made: qcow2 or raw");
        }
    }

    private static JsonObject Format(string fileNode, GraphNode disk, GraphNode? backing)
    {
        JsonObject options = new() { ["driver"] = "qcow2", ["file"] = fileNode, ["size"] = disk.VirtualSize };
        if (disk is { Driver: "qcow2", ClusterSize: { } clusterSize })
        {
            options["cluster-size"] = clusterSize;
            if (disk.HasSubclusters)
            {
                options["extended-l2"] = true;
            }
        }

        if (backing is not null)
        {
            options["backing-file"] = backing.Filename;
            options["backing-fmt"] = backing.Driver;
        }

        return options;
    }
}
