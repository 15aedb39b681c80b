// From a request, the hypervisor's graph and the repository's newest restore points to the whole plan of a backup, or
// to the reason why there is none. Pure: no I/O, no clock, no randomness; the same input gives the same plan.
//
// Where the temporary bitmap of an increment goes, and why only there:
//
//   Push. The job reads its bitmap on the node that it backs up, so the bitmap is installed on the disk's own node and
//   named to the job; on the target node every version of QEMU refuses it ("Bitmap … could not be found"). The job gets
//   sync=bitmap with bitmap-mode=never, so that it leaves the bitmap as it is: its count can be compared with what
//   arrived. It is removed from the disk when the job has ended, however it ended.
//
//   Pull. The export looks for the bitmap on the node it shows and down that node's backing chain. On the scratch node
//   it is found by every version, in every order, with or without filters in between (up to QEMU 5.1 the walk stops at
//   a filter with a file child, which is why the disk's node is no good place). The job gets no bitmap: with sync=none
//   it only saves what the guest overwrites. The bitmap vanishes with the scratch node.
//
// The order: everything that can fail without harm first (directories, scratch images, servers), then the one
// transaction that is the point in time, then what publishes it. Undone last to first.

using System.Text.Json.Nodes;
using Tidemark.Backup.Actions;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Rules;
using Tidemark.Qmp;

namespace Tidemark.Backup.Planning;

/// <summary>Plans backups.</summary>
public static class BackupPlanner
{
    /// <summary>Plans a backup.</summary>
    /// <param name="request">What is asked for.</param>
    /// <param name="graph">The hypervisor's graph, after what dead runs left was removed.</param>
    /// <param name="parents">The newest restore point of each disk in the repository, by the disk's name.</param>
    /// <param name="capabilities">What the hypervisor can do.</param>
    public static PlanOutcome Plan(
        PlanRequest request,
        GraphSnapshot graph,
        IReadOnlyDictionary<string, ParentDisk> parents,
        HypervisorCapabilities capabilities)
    {
        if (capabilities.Missing(request.Mode) is { Count: > 0 } missing)
        {
            return new PlanConflict(
                $"the hypervisor has no {string.Join(", ", missing)}",
                $"Mode {request.Mode.ToText()} needs them: QEMU 5.2 or newer has them");
        }

        if (request is { Mode: BackupMode.Pull, RemoteHost: { } host })
        {
            return new PlanConflict(
                $"the hypervisor runs on another host, '{host}': the scratch files of a pull would stay behind there, "
                    + "and nobody would see them grow",
                "Use --mode push, or run the backup on that host");
        }

        if (FindDisks(request, graph, out var roots) is { } conflict)
        {
            return conflict;
        }

        List<string> notes = [];
        List<PlannedDisk> disks = [];
        List<NodeChain> chains = [];
        foreach (var root in roots)
        {
            var chain = graph.ChainOf(root.Node);
            chains.Add(chain);
            disks.Add(PlanDisk(request, root, chain, parents.GetValueOrDefault(root.Name), disks, notes));
        }

        notes.AddRange(Warnings(request, capabilities));
        return new BackupPlan
        {
            RunId = request.RunId,
            CheckpointId = new RunNames(request.RunId).Checkpoint,
            Mode = request.Mode,
            Disks = disks,
            Steps = request.Mode == BackupMode.Pull
                ? PullSteps(request, disks, chains, capabilities)
                : PushSteps(request, disks, chains, capabilities),
            Nbd = request.Nbd,
            Notes = notes,
        };
    }

    private static PlanConflict? FindDisks(PlanRequest request, GraphSnapshot graph, out IReadOnlyList<DiskRoot> roots)
    {
        roots = [];
        List<DiskRoot> found = [];
        if (request.Disks.Count == 0)
        {
            found.AddRange(DiskFinder.FindUsed(graph, out var problem));
            if (problem is not null)
            {
                return new PlanConflict(problem, "Name the disks with --disk NAME=NODE");
            }

            if (found.Count == 0)
            {
                return new PlanConflict(
                    "no node is used by a guest device or a writable export",
                    $"Name the disks with --disk NAME=NODE; the nodes are {DiskFinder.ListNodes(graph)}");
            }
        }

        foreach (var selection in request.Disks)
        {
            if (DiskFinder.Find(graph, selection, out var problem) is not { } disk)
            {
                return new PlanConflict(problem, "Give a node's name: --disk NAME=NODE") { Disk = selection.Name };
            }

            found.Add(disk);
        }

        if (found.Count > RunNames.MaximumDisks)
        {
            return new PlanConflict(
                $"{found.Count} disks are over the limit of {RunNames.MaximumDisks} for one backup",
                    "Select some with --disk");
        }

        foreach (var (disk, index) in found.Select((disk, index) => (disk, index)))
        {
            if (CheckDisk(disk, found.Take(index), graph) is { } refused)
            {
                return refused;
            }
        }

        roots = found;
        return null;
    }

    private static PlanConflict? CheckDisk(DiskRoot disk, IEnumerable<DiskRoot> before, GraphSnapshot graph)
    {
        PlanConflict Refuse(string reason, string advice) =>
            new(reason, advice) { Disk = disk.Name, Node = disk.Node.Name };

        if (DiskName.Refuse(disk.Name) is { } name)
        {
            return Refuse(name, "Give it another name: --disk NAME=NODE");
        }

        foreach (var other in before)
        {
            if (other.Name == disk.Name)
            {
                return Refuse("two disks have this name", "Give each disk a name of its own");
            }

            if (other.Node.Name == disk.Node.Name)
            {
                return Refuse($"node '{disk.Node.Name}' is also disk '{other.Name}'", "Name each node once");
            }
        }

        if (disk.Node.VirtualSize == 0)
        {
            return Refuse("its size is zero", "Leave it out");
        }

        // A job's filter directly over the disk: the hypervisor would refuse a second job.
        foreach (var node in graph.Nodes)
        {
            if (node.Name.StartsWith('#') && node.Driver is "copy-before-write" or "backup-top" or "mirror_top"
                or "commit_top"
                && (node.FileNode ?? node.BackingNode) == disk.Node.Name)
            {
                return Refuse(
                    $"another job works on node '{disk.Node.Name}' ({node.Driver} filter '{node.Name}'; jobs: "
                        + $"{Jobs(graph)})",
                    "Wait for its end, or cancel it");
            }
        }

        return null;
    }

    private static string Jobs(GraphSnapshot graph)
    {
        const int Most = 5;
        return graph.Jobs.Count == 0 ? "none listed" : string.Join(", ", graph.Jobs.Take(Most).Select(job =>
            $"'{job.Id}'"));
    }

    private static PlannedDisk PlanDisk(
        PlanRequest request,
        DiskRoot root,
        NodeChain chain,
        ParentDisk? parent,
        List<PlannedDisk> before,
        List<string> notes)
    {
        var names = new RunNames(request.RunId);
        var ordinal = before.Count;
        var checkpoints = before.Count(disk => disk.Checkpoint is not null);
        var decision = KindRule.Decide(request.Full, chain, parent);
        var refused = KindRule.RefuseCheckpoint(root.Node);
        if (refused is not null)
        {
            notes.Add($"disk '{root.Name}': {refused}; every backup reads it whole");
        }

        List<BitmapReference> superseded = [];
        string[] known = parent is null ? [] : [.. parent.KnownBitmaps, .. Listed(parent.BitmapName)];
        foreach (var old in known.Distinct().SelectMany(bitmap => BitmapChain.Delete(chain, bitmap)))
        {
            if (chain.Layers.Single(layer => layer.Name == old.Node).IsReadOnly)
            {
                notes.Add($"disk '{root.Name}': bitmap '{old.Name}' stays on read-only node '{old.Node}'");
            }
            else
            {
                superseded.Add(old);
            }
        }

        var temporaryNode = request.Mode == BackupMode.Pull ? names.ScratchNode(ordinal) : root.Node.Name;
        return new PlannedDisk
        {
            Ordinal = ordinal,
            Name = root.Name,
            NodeName = root.Node.Name,
            Driver = root.Node.Driver,
            Filename = root.Node.Filename,
            Size = root.Node.VirtualSize,
            // One chunk size for the whole history of a disk: other cuts would share no chunk with it.
            ChunkSize = parent?.ChunkSize ?? request.ChunkSize,
            Kind = decision.Kind,
            Reason = decision.Reason,
            Parent = decision.Kind == DiskKind.Full ? null : parent,
            Checkpoint = refused is null ? new BitmapReference(root.Node.Name, names.CheckpointBitmap(checkpoints))
                : null,
            Granularity = request.Granularity,
            Temporary = decision.Kind == DiskKind.Incremental
                ? new BitmapReference(temporaryNode, names.TemporaryBitmap)
                : null,
            JobId = names.Job(ordinal),
            ExportName = names.Export(ordinal),
            Superseded = superseded,
        };
    }

    private static string[] Listed(string? bitmap) => bitmap is null ? [] : [bitmap];

    // What a guest may feel of the backup, said before it begins.
    private static List<string> Warnings(PlanRequest request, HypervisorCapabilities capabilities)
    {
        List<string> warnings = [];
        if (request.Mode == BackupMode.Push)
        {
            warnings.Add(
                "push: while the job runs, a guest write waits until the old data has reached the repository's "
                + "host" + (capabilities.BreaksSnapshot
                    ? $", at most {BackupLimits.GuestPatience.TotalSeconds:0} seconds; then the backup is given up"
                    : "; if this process dies, such a write may fail once. Pull mode does not depend on it"));
            if (request.RemoteHost is { } host)
            {
                warnings.Add($"push: the data crosses the network from '{host}' unencrypted");
            }
        }
        else if (!capabilities.BreaksSnapshot)
        {
            warnings.Add(
                "pull: this hypervisor cannot be told to give up the backup rather than a guest write whose old "
                + "data the scratch file cannot take. So the run is given up when the scratch's file system has less "
                + "than "
                + $"{BackupLimits.ScratchFloor >> 20} MiB free; what that does not show (a quota, an I/O error) may "
                + "fail "
                + "a guest write");
        }

        return warnings;
    }

    private static List<PlanStep> PullSteps(
        PlanRequest request, List<PlannedDisk> disks, List<NodeChain> chains, HypervisorCapabilities capabilities)
    {
        var names = new RunNames(request.RunId);
        List<PlanStep> steps =
        [
            new PlanStep.CheckScratch(
                "look at the scratch's file system",
                [.. disks.Select(disk => ScratchDirectory(request, disk)).Distinct()],
                capabilities.BreaksSnapshot ? 0 : BackupLimits.ScratchFloor),
        ];
        if (request.RunDirectory is { } directory)
        {
            steps.Add(new PlanStep.MakeDirectory("make the run's directory", directory));
        }

        foreach (var disk in disks)
        {
            steps.AddRange(ScratchSteps(request, names, disk));
        }

        if (!request.NbdRuns)
        {
            List<UndoAction> undo = [];
            if (request.Nbd.Path is { } socket)
            {
                undo.Add(new UndoAction.ServerSocket(socket));
            }

            undo.Add(new UndoAction.NbdServer(request.Nbd));
            steps.Add(new PlanStep.Command(
                "start the hypervisor's NBD server",
                new QmpCommand("nbd-server-start", new JsonObject { ["addr"] = request.Nbd.ToLegacyJson() }),
                undo));
        }

        steps.Add(PointInTime(
            request, disks, chains, capabilities.BreaksSnapshot, disk => names.ScratchNode(disk.Ordinal)));
        foreach (var disk in disks)
        {
            JsonObject export = new()
            {
                ["type"] = "nbd",
                ["id"] = disk.ExportName,
                ["node-name"] = names.ScratchNode(disk.Ordinal),
                ["writable"] = false,
                ["name"] = disk.ExportName,
            };
            if (disk.Temporary is { } temporary)
            {
                export["bitmaps"] = new JsonArray((JsonNode)temporary.Name);
            }

            steps.Add(new PlanStep.Command(
                $"export the frozen view of disk '{disk.Name}'",
                new QmpCommand("block-export-add", export),
                [new UndoAction.Export(disk.ExportName)]));
        }

        steps.Add(new PlanStep.Transfer("read the frozen views"));
        return steps;
    }

    private static PlanStep[] ScratchSteps(PlanRequest request, RunNames names, PlannedDisk disk)
    {
        var fileNode = names.ScratchFileNode(disk.Ordinal);
        var node = names.ScratchNode(disk.Ordinal);
        var path = $"{ScratchDirectory(request, disk)}/{names.ScratchFile(disk.Ordinal)}";
        var createFile = names.CreateJob(disk.Ordinal, "file");
        var createFormat = names.CreateJob(disk.Ordinal, "qcow2");
        return
        [
            new PlanStep.Job(
                $"create the scratch file of disk '{disk.Name}'",
                CreateImage(createFile, new JsonObject { ["driver"] = "file", ["filename"] = path, ["size"] = 0 }),
                createFile,
                [new UndoAction.LocalFile(path), new UndoAction.Job(createFile)]),
            new PlanStep.Command(
                $"open the scratch file of disk '{disk.Name}'",
                new QmpCommand("blockdev-add", new JsonObject
                {
                    ["driver"] = "file",
                    ["node-name"] = fileNode,
                    ["filename"] = path,
                    ["read-only"] = false,
                    ["discard"] = "unmap",
                }),
                [new UndoAction.Node(fileNode)]),
            new PlanStep.Unlink($"unlink the scratch file of disk '{disk.Name}'", path),
            new PlanStep.Job(
                $"format the scratch of disk '{disk.Name}'",
                CreateImage(createFormat, new JsonObject
                {
                    ["driver"] = "qcow2",
                    ["file"] = fileNode,
                    ["size"] = disk.Size,
                    ["cluster-size"] = BackupLimits.ScratchClusterSize,
                }),
                createFormat,
                [new UndoAction.Job(createFormat)]),
            new PlanStep.Command(
                $"open the scratch of disk '{disk.Name}' over its node",
                new QmpCommand("blockdev-add", new JsonObject
                {
                    ["driver"] = "qcow2",
                    ["node-name"] = node,
                    ["file"] = fileNode,
                    ["backing"] = disk.NodeName,
                    ["read-only"] = false,
                    ["discard"] = "unmap",
                }),
                [new UndoAction.Node(node)]),
        ];
    }

    private static List<PlanStep> PushSteps(
        PlanRequest request, List<PlannedDisk> disks, List<NodeChain> chains, HypervisorCapabilities capabilities)
    {
        var names = new RunNames(request.RunId);
        List<PlanStep> steps = [];
        List<UndoAction> serveUndo = [];
        if (request.RunDirectory is { } directory)
        {
            steps.Add(new PlanStep.MakeDirectory("make the run's directory", directory));
        }

        if (request.Nbd.Path is { } socket)
        {
            serveUndo.Add(new UndoAction.LocalFile(socket));
        }

        steps.Add(new PlanStep.Serve(
            "offer the repository to the hypervisor", request.Nbd, [.. disks.Select(disk => disk.ExportName)],
                serveUndo));
        foreach (var disk in disks)
        {
            var node = names.TargetNode(disk.Ordinal);
            steps.Add(new PlanStep.Command(
                $"connect the hypervisor to the target of disk '{disk.Name}'",
                new QmpCommand("blockdev-add", new JsonObject
                {
                    ["driver"] = "nbd",
                    ["node-name"] = node,
                    ["server"] = request.Nbd.ToJson(),
                    ["export"] = disk.ExportName,
                    ["read-only"] = false,
                }),
                [new UndoAction.Node(node)]));
        }

        steps.Add(PointInTime(
            request, disks, chains, capabilities.BreaksSnapshot, disk => names.TargetNode(disk.Ordinal)));
        steps.Add(new PlanStep.Transfer("wait for the jobs"));
        return steps;
    }

    private static PlanStep.Transaction PointInTime(
        PlanRequest request,
        List<PlannedDisk> disks,
        List<NodeChain> chains,
        bool breakSnapshot,
        Func<PlannedDisk, string> target)
    {
        List<TransactionAction> actions = [];
        List<UndoAction> bitmapUndo = [];
        List<UndoAction> jobUndo = [];
        foreach (var disk in disks)
        {
            if (disk.Checkpoint is { } checkpoint)
            {
                actions.Add(BitmapChain.Create(chains[disk.Ordinal], checkpoint.Name, disk.Granularity));
                bitmapUndo.Add(new UndoAction.CheckpointBitmap(checkpoint.Node, checkpoint.Name));
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
                    bitmapUndo.Add(new UndoAction.TemporaryBitmap(temporary.Node, temporary.Name));
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
                breakSnapshot));
            jobUndo.Add(new UndoAction.Job(disk.JobId));
        }

        return new PlanStep.Transaction("freeze all disks at one instant", actions, [.. bitmapUndo, .. jobUndo]);
    }

    private static QmpCommand CreateImage(string jobId, JsonObject options) =>
        new("blockdev-create", new JsonObject { ["job-id"] = jobId, ["options"] = options });

    // Beside the image there is room for an image's data, and the hypervisor may write there; /tmp may be in memory.
    private static string ScratchDirectory(PlanRequest request, PlannedDisk disk)
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
