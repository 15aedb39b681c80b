using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;

namespace Tidemark.Backup.Planning;

/// <summary>Which images a backup may write: none that the hypervisor has open, none twice.</summary>
internal static class ImageRule
{
    internal static PlanConflict? Refuse(
        BackupMode mode, BackupDisk disk, GraphSnapshot graph, List<DomainPlannedDisk> before)
    {
        PlanConflict No(string reason, string advice, ErrorClass errorClass) =>
            new(reason, advice) { Disk = disk.Name, Class = errorClass };

        var image = disk.Image!;
        if ((disk.Format ?? "qcow2") is not ("qcow2" or "raw") and var format)
        {
            return No(
                $"disk '{disk.Name}': format '{format}' of a target is not carried out",
                "Use <driver type='qcow2'/> or <driver type='raw'/>",
                ErrorClass.OperationUnsupported);
        }

        if (graph.Nodes.FirstOrDefault(node => node.Filename == image.Path) is { } open)
        {
            return No(
                $"store '{image.Path}' for backup of '{disk.Name}' is open as node '{open.Name}'",
                "Name another file",
                ErrorClass.InvalidArgument);
        }

        if (before.Find(other => other.Image.Path == image.Path) is { } twin)
        {
            return No(
                $"store '{image.Path}' for backup of '{disk.Name}' is also that of '{twin.Name}'",
                "Give each disk a file of its own",
                ErrorClass.InvalidArgument);
        }

        return mode == BackupMode.Pull && before.Find(other => other.ExportName == (disk.ExportName ?? disk.Name))
            is { } namesake
            ? No(
                $"export name '{disk.ExportName ?? disk.Name}' of disk '{disk.Name}' is also that of "
                + $"'{namesake.Name}'",
                "Give each disk an exportname of its own",
                ErrorClass.Unsupported)
            : null;
    }
}
