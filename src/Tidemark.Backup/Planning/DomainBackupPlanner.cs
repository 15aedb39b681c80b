// A virtual machine's backup, from libvirt's XML and the hypervisor's graph to the whole plan, or to the reason why
// there is none. Pure: no I/O, no clock, no randomness.
//
// The decisions are libvirt's, in libvirt's order: what the XML leaves open is filled in, the checkpoint is prepared,
// each disk is looked at. Where the temporary bitmap lies, and why only there: see BackupPlanner and
// docs/design/002-where-the-temporary-bitmap-lies.md.
//
// Why an increment misses nothing: a disk is planned as an increment only when the checkpoint's bitmap is valid along
// the whole chain by R1 (BitmapChain.Validate) and all layers that carry it have the disk's own size, so that the merge
// is the union of all writes since the checkpoint. Otherwise the plan is refused, or the disk is read whole.

using Tidemark.Backup.Actions;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Rules;

namespace Tidemark.Backup.Planning;

/// <summary>Plans the backups of virtual machines.</summary>
public static class DomainBackupPlanner
{
    private static readonly string[] s_needed =
    [
        "transaction", "blockdev-add", "blockdev-del", "blockdev-create", "query-named-block-nodes", "query-jobs",
        "job-cancel", "job-dismiss", "block-dirty-bitmap-remove",
    ];

    private static readonly string[] s_neededForPull =
        ["nbd-server-start", "nbd-server-stop", "block-export-add", "block-export-del", "query-block-exports"];

    /// <summary>Plans a backup.</summary>
    /// <param name="request">What is asked for.</param>
    /// <param name="graph">The hypervisor's graph, after what dead runs left was removed.</param>
    /// <param name="capabilities">What the hypervisor can do.</param>
    /// <returns>A <see cref="DomainBackupPlan"/> or a <see cref="PlanConflict"/>.</returns>
    public static PlanOutcome Plan(
        DomainBackupRequest request, GraphSnapshot graph, HypervisorCapabilities capabilities)
    {
        if (EncryptionRule.RefuseUnused(request) is { } unused)
        {
            return unused;
        }

        CheckpointDefinition? checkpoint;
        BackupDefinition backup;
        try
        {
            checkpoint = request.Checkpoint is null ? null : CheckpointAlignment.Align(
                request.Checkpoint, request.Disks, request.Time, request.CurrentCheckpoint);
            backup = BackupAlignment.Align(
                request.Backup, request.Disks, checkpoint?.Name ?? $"{request.Time}");
        }
        catch (BackupException exception) when (exception.Class is { } errorClass)
        {
            // The exception's message begins with the words of its class, which the conflict adds itself.
            return new PlanConflict(
                exception.Message[(errorClass.ToText().Length + 2)..], "Correct the XML") { Class = errorClass };
        }

        return CheckMode(backup, request, capabilities)
            ?? CheckpointRule.RefuseDefinition(checkpoint, request.Checkpoints)
            ?? PlanDisks(request, backup, checkpoint, graph, capabilities);
    }

    private static PlanOutcome PlanDisks(
        DomainBackupRequest request,
        BackupDefinition backup,
        CheckpointDefinition? checkpoint,
        GraphSnapshot graph,
        HypervisorCapabilities capabilities)
    {
        List<string> notes = [];
        List<DomainPlannedDisk> disks = [];
        foreach (var disk in (backup.Disks ?? []).Where(disk => disk.IsIncluded))
        {
            if (disks.Count == RunNames.MaximumDisks)
            {
                return new PlanConflict(
                    $"the disks are over the limit of {RunNames.MaximumDisks} for one backup",
                    "Leave some out with backup='no'")
                {
                    Class = ErrorClass.Unsupported,
                };
            }

            var owner = request.Disks.First(candidate => candidate.Name == disk.Name);
            if (PlanDisk(request, backup.Mode, disk, owner, graph, capabilities, disks, notes) is { } conflict)
            {
                return conflict;
            }
        }

        if (disks.Count == 0)
        {
            return new PlanConflict("no disks selected for backup", "Say backup='yes' for one")
            {
                Class = ErrorClass.Unsupported,
            };
        }

        List<BitmapAdd> checkpointBitmaps = [];
        if (checkpoint is not null)
        {
            checkpoint = request.Checkpoint!.Disks is null
                ? CheckpointRule.LeaveOut(checkpoint, request.Disks, graph, notes)
                : checkpoint;
            if (CheckpointRule.PlanBitmaps(
                checkpoint, request.Disks, graph, request.Granularity, checkpointBitmaps) is { } refused)
            {
                return refused;
            }

            disks = disks.ConvertAll(disk => disk with
            {
                Checkpoint = checkpointBitmaps.Where(add => add.Node == disk.NodeName)
                    .Select(add => new BitmapReference(add.Node, add.Name)).FirstOrDefault(),
            });
        }

        notes.AddRange(PlanWarnings.Of(request, backup, disks, capabilities));
        var nbd = AddressOf(backup.Server);
        return new DomainBackupPlan
        {
            RunId = request.RunId,
            Backup = Decided(backup, disks),
            Checkpoint = checkpoint,
            Disks = disks,
            Steps = new DomainBackupSteps(request, backup, disks, checkpointBitmaps, nbd, capabilities).Build(),
            Nbd = nbd,
            Notes = notes,
        };
    }

    // What depends on the request and the hypervisor, not on a disk.
    private static PlanConflict? CheckMode(
        BackupDefinition backup, DomainBackupRequest request, HypervisorCapabilities capabilities)
    {
        var needed = s_needed.Concat(backup.Mode == BackupMode.Pull ? s_neededForPull : []);
        if (needed.Where(name => !capabilities.Has(name)).ToList() is { Count: > 0 } missing)
        {
            return new PlanConflict(
                $"the hypervisor has no {string.Join(", ", missing)}", "QEMU 5.2 or newer has them");
        }

        if (backup.Server is not { } server)
        {
            return null;
        }

        if (server is { Transport: ServerTransport.Tcp, Port: null })
        {
            return new PlanConflict(
                "<domainbackup> must specify TCP port for now", "Say <server transport='tcp' name='…' port='10809'/>")
            {
                Class = ErrorClass.OperationUnsupported,
            };
        }

        if (server.Transport == ServerTransport.Fd)
        {
            return new PlanConflict(
                $"file descriptor group '{server.FdGroup}' was not associated with the domain",
                "A command has no socket to pass; use transport='unix' or transport='tcp'")
            {
                Class = ErrorClass.InvalidArgument,
            };
        }

        if (server.Tls == true && request.NbdRuns)
        {
            return new PlanConflict(
                "the NBD server runs already, so its TLS cannot be chosen", "Leave tls='yes' out");
        }

        if (server.Tls == true && !capabilities.Has("object-add"))
        {
            return new PlanConflict(
                "this hypervisor has no object-add, so its NBD server cannot have TLS", "Leave tls='yes' out")
            {
                Class = ErrorClass.OperationUnsupported,
            };
        }

        return server.Tls == true && request.TlsDirectory is null
            ? new PlanConflict("tls='yes', and no certificates for the NBD server", "Give the directory with --tls-dir")
            : null;
    }

    private static PlanConflict? PlanDisk(
        DomainBackupRequest request,
        BackupMode mode,
        BackupDisk disk,
        DomainDisk owner,
        GraphSnapshot graph,
        HypervisorCapabilities capabilities,
        List<DomainPlannedDisk> disks,
        List<string> notes)
    {
        PlanConflict Refuse(string reason, string advice, ErrorClass? errorClass = null, string? node = null) =>
            new(reason, advice) { Disk = disk.Name, Node = node, Class = errorClass };

        if (DomainNodes.Find(graph, owner, out var problem) is not { } node)
        {
            return Refuse(problem, "Name the disk's node");
        }

        if (DomainNodes.OtherJob(graph, node) is { } busy)
        {
            return Refuse(
                $"disk '{disk.Name}' already in active block job ({busy})",
                "Wait for its end, or cancel it",
                ErrorClass.OperationUnsupported,
                node.Name);
        }

        if (disks.Find(other => other.NodeName == node.Name) is { } twin)
        {
            return Refuse($"node '{node.Name}' is also disk '{twin.Name}'", "Name each disk once", node: node.Name);
        }

        if ((ImageRule.Refuse(mode, disk, graph, disks)
            ?? EncryptionRule.Refuse(disk, request, capabilities)) is { } image)
        {
            return image;
        }

        var chain = graph.ChainOf(node);
        if (Decide(request, disk, chain, out var isFull, out var reason) is { } conflict)
        {
            return conflict;
        }

        if (reason.Length > 0)
        {
            notes.Add($"disk '{disk.Name}' is read whole: {reason}");
        }

        disks.Add(Planned(request.RunId, mode, disk, chain, disks.Count, isFull, reason) with
        {
            Encryption = EncryptionRule.Plan(disk, request, disks.Count),
        });
        return null;
    }

    // The one decision after which clusters are not copied; see the head of this file.
    private static PlanConflict? Decide(
        DomainBackupRequest request, BackupDisk disk, NodeChain chain, out bool isFull, out string reason)
    {
        reason = "";
        isFull = disk.Mode == DiskBackupMode.Full;
        if (isFull)
        {
            return null;
        }

        var since = disk.Incremental!;
        var conflict = new PlanConflict("", "")
        {
            Disk = disk.Name, Node = chain.Top.Name, Bitmap = since, Class = ErrorClass.CheckpointInconsistent,
        };
        if (request.Checkpoints is { } known && !known.ContainsKey(since))
        {
            return conflict with
            {
                Reason = $"Checkpoint '{since}' for incremental backup of disk '{disk.Name}' not found",
                Advice = "List the checkpoints with checkpoint-list",
                Class = ErrorClass.CheckpointNotFound,
            };
        }

        if ((NotCovered(request, since, disk.Name) ?? BitmapChain.Validate(chain, since).Reason) is { } broken)
        {
            (isFull, reason) = (true, broken);
            return request.FallBackToFull ? null : conflict with
            {
                Reason = $"missing or broken bitmap '{since}' for disk '{disk.Name}': {reason}",
                Advice = "Back the disk up in full: backupmode='full'",
            };
        }

        if (BitmapChain.OtherSize(chain, since) is { } resized)
        {
            // No hypervisor merges bitmaps of different sizes: libvirt's backup fails here, and nothing but a full one,
            // or the commit of the snapshot, helps.
            (isFull, reason) = (true, resized);
        }

        return null;
    }

    // A bitmap of a checkpoint's name on a disk that took no part in it is somebody else's: it may record from another
    // instant on.
    private static string? NotCovered(DomainBackupRequest request, string since, string disk) =>
        request.Checkpoints?.GetValueOrDefault(since)?.Disks is { } covered
            && covered.FirstOrDefault(one => one.Name == disk) is not { HasBitmap: not false }
            ? "the checkpoint does not cover this disk"
            : null;

    private static DomainPlannedDisk Planned(
        string runId, BackupMode mode, BackupDisk disk, NodeChain chain, int ordinal, bool isFull, string reason)
    {
        var names = new RunNames(runId);
        var isPull = mode == BackupMode.Pull;
        var imageNode = isPull ? names.ScratchNode(ordinal) : names.TargetNode(ordinal);
        return new DomainPlannedDisk
        {
            Ordinal = ordinal,
            Name = disk.Name,
            Chain = chain,
            Mode = isFull ? DiskBackupMode.Full : DiskBackupMode.Incremental,
            Since = isFull ? null : disk.Incremental,
            Reason = reason,
            Image = disk.Image!,
            Kind = disk.Kind!.Value,
            Format = disk.Format ?? "qcow2",
            ImageNode = imageNode,
            StorageNode = names.ScratchFileNode(ordinal),
            JobId = names.Job(ordinal),
            ExportId = isPull ? names.Export(ordinal) : null,
            ExportName = isPull ? disk.ExportName ?? disk.Name : null,
            Temporary = isFull ? null
                : isPull ? new BitmapReference(imageNode, disk.ExportBitmap ?? $"backup-{disk.Name}")
                : new BitmapReference(chain.Top.Name, names.TemporaryBitmap),
        };
    }

    // The definition with what was decided otherwise.
    private static BackupDefinition Decided(BackupDefinition backup, List<DomainPlannedDisk> disks) =>
        BackupAlignment.Complete(backup with
        {
            Disks = [.. backup.Disks!.Select(disk => disks.Find(planned => planned.Name == disk.Name) is { } planned
                ? disk with { Mode = planned.Mode, Incremental = planned.Since }
                : disk)],
        });

    private static NbdAddress? AddressOf(BackupServer? server) => server?.Transport switch
    {
        ServerTransport.Unix => NbdAddress.Unix(server.Socket!),
        ServerTransport.Tcp => NbdAddress.Tcp(server.Host!, server.Port!.Value),
        _ => null,
    };
}
