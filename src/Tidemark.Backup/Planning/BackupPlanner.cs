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

using Tidemark.Backup.Actions;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Rules;

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
            Steps = new BackupSteps(request, disks, chains, capabilities).Build(),
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

        if (DomainNodes.OtherJob(graph, disk.Node) is { } busy)
        {
            return Refuse($"another job works on node '{disk.Node.Name}' ({busy})", "Wait for its end, or cancel it");
        }

        return null;
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
}
