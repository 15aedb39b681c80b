// The steps of a backup into the repository. The order: everything that can fail without harm first (directories,
// scratch images, servers), then the one transaction that is the point in time, then what publishes it. Undone last to
// first.

using System.Text.Json.Nodes;
using Tidemark.Backup.Actions;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Rules;

namespace Tidemark.Backup.Planning;

/// <summary>Makes the steps of a backup into the repository.</summary>
/// <param name="request">What is asked for.</param>
/// <param name="disks">What was decided of each disk.</param>
/// <param name="chains">Their backing chains, in the same order.</param>
/// <param name="capabilities">What the hypervisor can do.</param>
internal sealed class BackupSteps(
    PlanRequest request,
    IReadOnlyList<PlannedDisk> disks,
    IReadOnlyList<NodeChain> chains,
    HypervisorCapabilities capabilities)
{
    private readonly RunNames _names = new(request.RunId);

    /// <summary>All steps in their order.</summary>
    internal List<PlanStep> Build() => request.Mode == BackupMode.Pull ? Pull() : Push();

    private List<PlanStep> Pull()
    {
        List<PlanStep> steps =
        [
            new PlanStep.CheckScratch(
                "look at the scratch's file system",
                [.. disks.Select(ScratchDirectory).Distinct()],
                capabilities.BreaksSnapshot ? 0 : BackupLimits.ScratchFloor),
            .. RunDirectory(),
            .. disks.SelectMany(Scratch),
        ];
        if (!request.NbdRuns)
        {
            steps.Add(StepParts.StartServer(request.Nbd, tls: null));
        }

        steps.Add(PointInTime(disk => _names.ScratchNode(disk.Ordinal)));
        steps.AddRange(disks.Select(disk => StepParts.Export(
            disk.Name, _names.ScratchNode(disk.Ordinal), disk.ExportName, disk.ExportName, disk.Temporary?.Name)));
        steps.Add(new PlanStep.Transfer("read the frozen views"));
        return steps;
    }

    private List<PlanStep> Push() =>
    [
        .. RunDirectory(),
        new PlanStep.Serve(
            "offer the repository to the hypervisor",
            request.Nbd,
            [.. disks.Select(disk => disk.ExportName)],
            request.Nbd.Path is { } socket ? [new UndoAction.LocalFile(socket)] : []),
        .. disks.Select(Target),
        PointInTime(disk => _names.TargetNode(disk.Ordinal)),
        new PlanStep.Transfer("wait for the jobs"),
    ];

    private PlanStep[] RunDirectory() => request.RunDirectory is { } directory
        ? [new PlanStep.MakeDirectory("make the run's directory", directory)]
        : [];

    private PlanStep[] Scratch(PlannedDisk disk)
    {
        var fileNode = _names.ScratchFileNode(disk.Ordinal);
        var node = _names.ScratchNode(disk.Ordinal);
        var path = $"{ScratchDirectory(disk)}/{_names.ScratchFile(disk.Ordinal)}";
        var file = StepParts.Create(
            $"create the scratch file of disk '{disk.Name}'",
            _names.CreateJob(disk.Ordinal, "file"),
            new JsonObject { ["driver"] = "file", ["filename"] = path, ["size"] = 0 });
        return
        [
            file with { Undo = [new UndoAction.LocalFile(path), .. file.Undo] },
            StepParts.OpenFile($"open the scratch file of disk '{disk.Name}'", fileNode, path, isDevice: false),
            new PlanStep.Unlink($"unlink the scratch file of disk '{disk.Name}'", path),
            StepParts.Create(
                $"format the scratch of disk '{disk.Name}'",
                _names.CreateJob(disk.Ordinal, "qcow2"),
                new JsonObject
                {
                    ["driver"] = "qcow2",
                    ["file"] = fileNode,
                    ["size"] = disk.Size,
                    ["cluster-size"] = BackupLimits.ScratchClusterSize,
                }),
            StepParts.Open(
                $"open the scratch of disk '{disk.Name}' over its node",
                node,
                new JsonObject
                {
                    ["driver"] = "qcow2",
                    ["node-name"] = node,
                    ["file"] = fileNode,
                    ["backing"] = disk.NodeName,
                    ["read-only"] = false,
                    ["discard"] = "unmap",
                }),
        ];
    }

    private PlanStep.Command Target(PlannedDisk disk)
    {
        var node = _names.TargetNode(disk.Ordinal);
        return StepParts.Open(
            $"connect the hypervisor to the target of disk '{disk.Name}'",
            node,
            new JsonObject
            {
                ["driver"] = "nbd",
                ["node-name"] = node,
                ["server"] = request.Nbd.ToJson(),
                ["export"] = disk.ExportName,
                ["read-only"] = false,
            });
    }

    private PlanStep.Transaction PointInTime(Func<PlannedDisk, string> target)
    {
        List<TransactionAction> actions = [];
        List<UndoAction> undo = [];
        foreach (var disk in disks)
        {
            if (disk.Checkpoint is { } checkpoint)
            {
                actions.Add(BitmapChain.Create(chains[disk.Ordinal], checkpoint.Name, disk.Granularity));
                undo.Add(new UndoAction.CheckpointBitmap(checkpoint.Node, checkpoint.Name));
            }
        }

        foreach (var disk in disks)
        {
            if (disk.Temporary is { } temporary)
            {
                actions.AddRange(BitmapChain.Merge(
                    chains[disk.Ordinal], disk.Parent!.BitmapName!, temporary.Node, temporary.Name));
                if (request.Mode == BackupMode.Push)
                {
                    undo.Add(new UndoAction.TemporaryBitmap(temporary.Node, temporary.Name));
                }
            }

            var sync = request.Mode == BackupMode.Pull ? JobSync.None
                : disk.Temporary is null ? JobSync.Full : JobSync.Bitmap;
            actions.Add(new BackupJob(
                disk.NodeName,
                disk.JobId,
                target(disk),
                sync,
                sync == JobSync.Bitmap ? disk.Temporary!.Name : null,
                capabilities.BreaksSnapshot));
        }

        undo.AddRange(disks.Select(disk => new UndoAction.Job(disk.JobId)));
        return new PlanStep.Transaction("freeze all disks at one instant", actions, undo);
    }

    // Beside the image there is room for an image's data, and the hypervisor may write there; /tmp may be in memory.
    private string ScratchDirectory(PlannedDisk disk)
    {
        if (request.ScratchDirectory is { } given)
        {
            return given.TrimEnd('/');
        }

        var slash = disk.Filename.LastIndexOf('/');
        return disk.Filename.StartsWith('/') && !disk.Filename.StartsWith("/dev/", StringComparison.Ordinal)
            && slash > 0
            ? disk.Filename[..slash]
            : "/var/tmp";
    }
}
