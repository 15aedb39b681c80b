// Snapshot, commit, pull and copy of a domain's disks, such that no checkpoint loses a write.
//
// Why no bit can be lost, at no instant and whatever dies in between:
//
//   snapshot   the overlay's bitmaps are made in the very transaction that puts it on top (R5)
//   pull       the bitmaps of the layers that will be gone are merged into the active layer's before the job begins.
//              Those layers are not written any more, and the union over all layers stays the same
//   commit     of layers below the active one: the job stops before its end (auto-finalize=false); then the layers'
//              bitmaps are merged into the base's, which are made where they are missing, or, if the base keeps none,
//              into the active layer's; then it may end. At each instant the union over the layers holds at least what
//              it held before
//   commit of  the active layer, and copy: when the job is ready, the merge makes and fills the bitmaps at the other
//   the active image in one transaction. From that instant on they record, so what the job still carries over, and
//   layer      what the guest writes after the pivot, is in them; what was written before it is in what was merged. So
//              no bitmap for the time in between is needed (libvirt has one, libvirt-tmp-activewrite, and merges after
//              the pivot: a kill between the two loses the checkpoint)
//
// Too many bits cost time, never data. If a change fails, what it made is removed again.

using System.Text.Json.Nodes;
using Tidemark.Backup.Actions;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Planning;
using Tidemark.Backup.Rules;
using Tidemark.Backup.Running;

namespace Tidemark.Backup.Domains;

/// <summary>Changes a domain's backing chains under its checkpoints. Each call returns when the change is
/// done.</summary>
public sealed class ChangeService
{
    private const string ActiveWrite = "libvirt-tmp-activewrite";

    private readonly DomainServiceOptions _options;
    private readonly HypervisorSource _source;

    /// <summary>Creates a service.</summary>
    /// <param name="options">Where the state is kept.</param>
    /// <param name="source">The hypervisor.</param>
    public ChangeService(DomainServiceOptions options, HypervisorSource source)
    {
        _options = options;
        _source = source;
    }

    /// <summary>Puts an overlay on each disk, all at one instant; every checkpoint goes on in it.</summary>
    /// <param name="name">The snapshot's name; null for the seconds since 1970.</param>
    /// <param name="disks">What is said of single disks; the others take part.</param>
    /// <param name="reuseExternal">Whether the overlays' files exist and are used as they are.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>The overlays' paths by disk.</returns>
    public async Task<IReadOnlyDictionary<string, string>> SnapshotAsync(
        string? name,
        IReadOnlyList<SnapshotDisk> disks,
        bool reuseExternal,
        CancellationToken cancellationToken = default)
    {
        var session = await OpenAsync(cancellationToken).ConfigureAwait(false);
        await using var _ = session.ConfigureAwait(false);
        Need(session, "blockdev-create", "blockdev-add", "transaction");
        var graph = await session.ReadGraphAsync(cancellationToken).ConfigureAwait(false);
        var snapshot = name ?? $"{_options.Time.GetUtcNow().ToUnixTimeSeconds()}";
        var names = new ChangeNames(_options.NewRunId());
        List<PlanStep> steps = [];
        List<TransactionAction> actions = [];
        Dictionary<string, string> overlays = new(StringComparer.Ordinal);
        List<AttachedDisk> covered = [];
        foreach (var (disk, file) in SelectForSnapshot(session.FindDisks(graph), disks, snapshot))
        {
            RefuseBusy(graph, disk);
            var chain = graph.ChainOf(disk.Node);
            var ordinal = overlays.Count;
            steps.AddRange(LayerImage.Steps(
                names, ordinal, file, "qcow2", disk.Node, disk.Node, null, reuseExternal));
            actions.AddRange(BitmapChain.Snapshot(chain, names.Node(ordinal)));
            overlays.Add(disk.Name, file);
            covered.Add(disk);
            session.KeepName(disk.Name, names.Node(ordinal), file);
        }

        steps.Add(new PlanStep.Transaction("put the overlays on top", actions, []));
        await session.WithJournalAsync(names.RunId, async (executor, journal, jobs) =>
        {
            foreach (var step in steps)
            {
                if (step is PlanStep.Transaction && reuseExternal)
                {
                    var opened = await session.ReadGraphAsync(cancellationToken).ConfigureAwait(false);
                    foreach (var (ordinal, disk) in covered.Index())
                    {
                        CheckOverlay(disk, opened.Find(names.Node(ordinal)));
                    }
                }

                await executor.ExecuteAsync(step, session.Monitor, jobs, null, cancellationToken)
                    .ConfigureAwait(false);
            }

            journal.Delete();
        }).ConfigureAwait(false);
        return overlays;
    }

    /// <summary>Commits layers of a disk into one below them.</summary>
    public async Task CommitAsync(
        BlockChange change, Action<long, long> report, CancellationToken cancellationToken = default)
    {
        var session = await OpenAsync(cancellationToken).ConfigureAwait(false);
        await using var _ = session.ConfigureAwait(false);
        Need(session, "block-commit", "job-finalize", "job-complete", "block-job-cancel");
        var (name, chain) = await FindAsync(session, change, cancellationToken).ConfigureAwait(false);
        var top = change.Top is null ? 0 : IndexOf(chain, change.Top);
        var bottom = change.Base is not null ? IndexOf(chain, change.Base)
            : change.IsShallow ? top + 1 : chain.Layers.Count - 1;
        if (bottom <= top || bottom >= chain.Layers.Count)
        {
            throw new BackupException(
                BackupErrorKind.Request,
                $"there is nothing to commit: the base is not below the top in the chain of disk '{change.Disk}'");
        }

        if (top == 0 && !change.IsActive)
        {
            throw ErrorClass.InvalidArgument.ToException(
                $"commit of '{change.Disk}' active layer requires active flag");
        }

        var isActive = top == 0;
        var target = chain.Layers[bottom];
        var names = new ChangeNames(_options.NewRunId());
        JsonObject arguments = new()
        {
            ["job-id"] = names.Job,
            ["device"] = chain.Top.Name,
            ["base-node"] = target.Name,
            ["top-node"] = chain.Layers[top].Name,
            ["speed"] = change.Speed,
            ["auto-finalize"] = isActive,
            ["auto-dismiss"] = false,
        };
        var merge = WithoutActiveWrite(ChangeRule.Commit(chain, top, bottom));
        CheckCommit(change, chain, top, bottom, merge);

        await session.WithJournalAsync(names.RunId, async (steps, journal, jobs) =>
        {
            var job = new BlockJobRun(session, names.Job, steps, journal, jobs, report);
            await job.StartAsync($"commit layers of disk '{change.Disk}'", "block-commit", arguments,
                cancellationToken).ConfigureAwait(false);
            await job.EndAsync(
                isActive ? "ready" : "pending",
                isActive && !change.Pivots ? null : merge,
                target.Name,
                isActive ? change.Pivots ? "job-complete" : null : "job-finalize",
                cancellationToken).ConfigureAwait(false);
        }).ConfigureAwait(false);
        if (isActive && change.Pivots)
        {
            session.KeepName(name, target.Name, target.Filename);
        }

        if (!isActive || change.Pivots)
        {
            GraphNode[] gone = [.. chain.Layers.Skip(top).Take(bottom - top)];
            await RemoveAsync(session, gone).ConfigureAwait(false);
            DeleteFiles(change.DeletesFiles ? gone : []);
        }
    }

    /// <summary>Pulls the data of the layers below a disk's active layer into it.</summary>
    public async Task PullAsync(
        BlockChange change, Action<long, long> report, CancellationToken cancellationToken = default)
    {
        var session = await OpenAsync(cancellationToken).ConfigureAwait(false);
        await using var __ = session.ConfigureAwait(false);
        Need(session, "block-stream");
        var (_, chain) = await FindAsync(session, change, cancellationToken).ConfigureAwait(false);
        var bottom = change.Base is null ? chain.Layers.Count : IndexOf(chain, change.Base);
        if (bottom <= 1)
        {
            throw new BackupException(
                BackupErrorKind.Request,
                $"there is nothing to pull: no layer lies between the active one of disk '{change.Disk}' and the base");
        }

        var names = new ChangeNames(_options.NewRunId());
        JsonObject arguments = new() { ["job-id"] = names.Job, ["device"] = chain.Top.Name };
        if (change.Base is not null)
        {
            arguments["base-node"] = chain.Layers[bottom].Name;
        }

        arguments["speed"] = change.Speed;
        arguments["auto-finalize"] = true;
        arguments["auto-dismiss"] = false;
        var merge = BitmapChain.Stream(chain, chain.Top.Name, change.Base is null ? null : chain.Layers[bottom].Name);
        RefuseFalseTrust(change, ChangeRule.FalselyTrustedAfterStream(chain, bottom));
        RefuseOtherSize(change, ChangeRule.OfOtherSize(chain, merge, chain.Top.VirtualSize));
        await session.WithJournalAsync(names.RunId, async (steps, journal, jobs) =>
        {
            if (merge.Count > 0)
            {
                await steps.ExecuteAsync(
                    new PlanStep.Transaction("merge the bitmaps of the layers into the active one's", merge, []),
                    session.Monitor, jobs, null, cancellationToken).ConfigureAwait(false);
            }

            var job = new BlockJobRun(session, names.Job, steps, journal, jobs, report);
            await job.StartAsync($"pull the layers of disk '{change.Disk}'", "block-stream", arguments,
                cancellationToken).ConfigureAwait(false);
            await job.EndAsync(null, null, chain.Top.Name, null, cancellationToken).ConfigureAwait(false);
        }).ConfigureAwait(false);
        await RemoveAsync(session, [.. chain.Layers.Skip(1).Take(bottom - 1)]).ConfigureAwait(false);
    }

    /// <summary>Copies a disk to another image, and lets the disk go over to it if that is asked for.</summary>
    public async Task CopyAsync(
        BlockChange change, Action<long, long> report, CancellationToken cancellationToken = default)
    {
        var session = await OpenAsync(cancellationToken).ConfigureAwait(false);
        await using var _ = session.ConfigureAwait(false);
        Need(session, "blockdev-mirror", "job-complete", "block-job-cancel");
        var (name, chain) = await FindAsync(session, change, cancellationToken).ConfigureAwait(false);
        var format = change.Format ?? (chain.Top.Driver == "qcow2" ? "qcow2" : "raw");
        LayerImage.Check(change.Destination!, format);
        var below = change.IsShallow && chain.Layers.Count > 1 ? chain.Layers[1] : null;
        if (below is not null && format == "raw")
        {
            throw new BackupException(
                BackupErrorKind.Request, "a raw image cannot lie over another one: --shallow needs --format qcow2");
        }

        var names = new ChangeNames(_options.NewRunId());
        JsonObject arguments = new()
        {
            ["job-id"] = names.Job,
            ["device"] = chain.Top.Name,
            ["target"] = names.Node(0),
            ["sync"] = change.IsShallow ? "top" : "full",
            ["speed"] = change.Speed,
            ["auto-finalize"] = true,
            ["auto-dismiss"] = false,
        };
        await session.WithJournalAsync(names.RunId, async (steps, journal, jobs) =>
        {
            foreach (var step in LayerImage.Steps(
                names, 0, change.Destination!, format, chain.Top, below, below?.Name, change.ReusesExternal))
            {
                await steps.ExecuteAsync(step, session.Monitor, jobs, null, cancellationToken).ConfigureAwait(false);
            }

            var mirror = (await session.ReadGraphAsync(cancellationToken).ConfigureAwait(false)).Find(names.Node(0))
                ?? throw new BackupException(BackupErrorKind.Hypervisor, $"node '{names.Node(0)}' is not there");
            if (change.ReusesExternal)
            {
                CheckHeader(change.Disk, mirror, below);
            }

            var merge = WithoutActiveWrite(BitmapChain.Copy(chain, mirror, change.IsShallow));
            if (change.Pivots)
            {
                RefuseOtherSize(change, ChangeRule.OfOtherSize(chain, merge, mirror.VirtualSize));
                NoteEnding(change, ChangeRule.EndingAt(chain, mirror));
            }

            var job = new BlockJobRun(session, names.Job, steps, journal, jobs, report);
            await job.StartAsync($"copy disk '{change.Disk}'", "blockdev-mirror", arguments, cancellationToken)
                .ConfigureAwait(false);
            await job.EndAsync(
                "ready",
                change.Pivots ? merge : null,
                mirror.Name,
                change.Pivots ? "job-complete" : null,
                cancellationToken).ConfigureAwait(false);
        }).ConfigureAwait(false);
        if (change.Pivots)
        {
            session.KeepName(name, names.Node(0), change.Destination!);
        }

        await RemoveAsync(
            session,
            change.Pivots
                ? [.. below is null ? chain.Layers : chain.Layers.Take(1)]
                : [(await session.ReadGraphAsync(CancellationToken.None).ConfigureAwait(false)).Find(names.Node(0))!])
                    .ConfigureAwait(false);
    }

    private static IEnumerable<(AttachedDisk Disk, string File)> SelectForSnapshot(
        IReadOnlyList<AttachedDisk> all, IReadOnlyList<SnapshotDisk> asked, string snapshot)
    {
        foreach (var one in asked.Where(one => AttachedDiskFinder.Select(all, one.Name) is null))
        {
            throw ErrorClass.Unsupported.ToException($"no disk named '{one.Name}'");
        }

        var count = 0;
        foreach (var disk in all.Where(disk => !disk.IsReadOnly))
        {
            var said = asked.FirstOrDefault(one => AttachedDiskFinder.Select(all, one.Name) == disk);
            if (said is { IsIncluded: false })
            {
                continue;
            }

            if (!disk.Node.Filename.StartsWith('/'))
            {
                throw new BackupException(
                    BackupErrorKind.Request,
                    $"disk '{disk.Name}': its image '{disk.Node.Filename}' has no path that an overlay could name as "
                        + "its backing file");
            }

            var file = said?.File ?? Path.ChangeExtension(disk.Node.Filename, snapshot);
            LayerImage.Check(file, "qcow2");
            count++;
            yield return (disk, file);
        }

        if (count == 0)
        {
            throw ErrorClass.Unsupported.ToException("no disk takes part in the snapshot");
        }
    }

    private static async Task<(string Name, NodeChain Chain)> FindAsync(
        DomainSession session, BlockChange change, CancellationToken cancellationToken)
    {
        var graph = await session.ReadGraphAsync(cancellationToken).ConfigureAwait(false);
        var disk = AttachedDiskFinder.Select(session.FindDisks(graph), change.Disk)
            ?? throw ErrorClass.InvalidArgument.ToException($"disk '{change.Disk}' not found in domain");
        RefuseBusy(graph, disk);
        var chain = graph.ChainOf(disk.Node);
        return chain.Gap is { } gap
            ? throw new BackupException(BackupErrorKind.Hypervisor, $"disk '{change.Disk}': {gap}")
            : (disk.Name, chain);
    }

    private static void RefuseBusy(GraphSnapshot graph, AttachedDisk disk)
    {
        if (DomainNodes.OtherJob(graph, disk.Node) is { } busy)
        {
            throw ErrorClass.OperationUnsupported.ToException(
                $"disk '{disk.Name}' already in active block job ({busy}). Wait for its end, or end it");
        }
    }

    // A bitmap that an overlay brings along has seen none of the disk's writes, and on top of the chain R1 would
    // believe it: whatever layer lacks it below counts as older than its checkpoint. An overlay of another size would
    // cut the guest's disk off, or make it grow, in an instant. What its header names below it is opened there at the
    // next start.
    private void CheckOverlay(AttachedDisk disk, GraphNode? overlay)
    {
        if (overlay is null)
        {
            return;
        }

        if (overlay.Bitmaps.Count > 0)
        {
            throw new BackupException(
                BackupErrorKind.Conflict,
                $"'{overlay.Filename}' holds bitmap '{overlay.Bitmaps[0].Name}' already, which has recorded nothing of "
                    + "this disk: an overlay that is to be used as it is must hold none (qemu-img bitmap --remove)");
        }

        if (overlay.VirtualSize != disk.Node.VirtualSize)
        {
            throw new BackupException(
                BackupErrorKind.Conflict,
                $"'{overlay.Filename}' is for {overlay.VirtualSize} bytes, and disk '{disk.Name}' has "
                    + $"{disk.Node.VirtualSize}: an overlay must be of the disk's size");
        }

        CheckHeader(disk.Name, overlay, disk.Node);
    }

    // What an image's header names below it counts when the image is opened next. Below a whole copy nothing may be:
    // the hypervisor leaves what is zero on the disk unallocated in it (QEMU 11.1 does), and it would show through.
    private void CheckHeader(string disk, GraphNode image, GraphNode? below)
    {
        var (named, path) = (image.BackingFile, below?.Filename ?? "");
        if (named == path)
        {
            return;
        }

        var remedy = below is null
            ? $"qemu-img rebase -u -b '' '{image.Filename}'"
            : $"qemu-img rebase -u -F {below.Driver} -b '{path}' '{image.Filename}'";
        if (named.Length == 0 || path.Length == 0)
        {
            throw new BackupException(
                BackupErrorKind.Conflict,
                named.Length == 0
                    ? $"'{image.Filename}' names no backing file: from the machine's next start on, disk '{disk}' "
                        + $"would be without all that lies below it. First: {remedy}"
                    : $"'{image.Filename}' names '{named}' as its backing file, which would show through a whole copy "
                        + $"of disk '{disk}' wherever that is zero. First: {remedy}");
        }

        _options.Note(
            $"'{image.Filename}' names '{named}' as its backing file, which is opened at the machine's next start; now "
                + $"'{path}' lies below it. If those are two images: {remedy}");
    }

    // See ChangeRule: afterwards nothing would tell that it is not.
    private static void RefuseFalseTrust(BlockChange change, string? bitmap)
    {
        if (bitmap is not null)
        {
            throw new BackupException(
                BackupErrorKind.Conflict,
                $"disk '{change.Disk}': bitmap '{bitmap}' has missed writes, and would look as if it had not when "
                    + "these layers are gone. Delete it first: checkpoint-delete, or block-dirty-bitmap-remove if it "
                    + "is no checkpoint");
        }
    }

    private void CheckCommit(
        BlockChange change, NodeChain chain, int top, int bottom, IReadOnlyList<TransactionAction> merge)
    {
        var target = chain.Layers[bottom];
        RefuseFalseTrust(change, ChangeRule.FalselyTrustedAfterCommit(chain, top, bottom, merge));
        if (top == 0 && !change.Pivots)
        {
            return;
        }

        // The job makes a base that is too small as large as what it takes.
        RefuseOtherSize(change, ChangeRule.OfOtherSize(chain, merge, ChangeRule.KeepsBitmaps(target)
            ? Math.Max(target.VirtualSize, chain.Layers[top].VirtualSize)
            : chain.Top.VirtualSize));
        if (top == 0)
        {
            NoteEnding(change, ChangeRule.EndingAt(chain, target));
        }
    }

    private static void RefuseOtherSize(BlockChange change, string? bitmap)
    {
        if (bitmap is not null)
        {
            throw new BackupException(
                BackupErrorKind.Conflict,
                $"disk '{change.Disk}': the disk was resized after a snapshot, so bitmap '{bitmap}' has another size "
                    + "on one of these layers and cannot be merged. No increment is made since it any more: delete it "
                    + "first (checkpoint-delete)");
        }
    }

    private void NoteEnding(BlockChange change, IReadOnlyList<string> bitmaps)
    {
        if (bitmaps.Count > 0)
        {
            _options.Note(
                $"disk '{change.Disk}': the image that it goes over to keeps no bitmaps; what "
                    + $"{string.Join(", ", bitmaps)} has recorded of it ends here, and its next backup is a full one");
        }
    }

    private static int IndexOf(NodeChain chain, string layer)
    {
        for (var index = 0; index < chain.Layers.Count; index++)
        {
            if (chain.Layers[index].Name == layer || chain.Layers[index].Filename == layer)
            {
                return index;
            }
        }

        throw new BackupException(
            BackupErrorKind.Request,
            $"'{layer}' is no layer of the chain: "
                + string.Join(", ", chain.Layers.Select(one => $"'{one.Name}' ({one.Filename})")));
    }

    // See the head of this file.
    private static List<TransactionAction> WithoutActiveWrite(IReadOnlyList<TransactionAction> actions) =>
    [
        .. actions.Where(action => action is not BitmapRemove { Name: ActiveWrite }).Select(action =>
            action is BitmapMerge merge
                ? merge with { Sources = [.. merge.Sources.Where(source => source.Name != ActiveWrite)] }
                : action),
    ];

    // The nodes that are in no chain any more. One that the hypervisor keeps is said, and harms nobody.
    private async Task RemoveAsync(DomainSession session, IReadOnlyList<GraphNode> layers)
    {
        // Top first: a layer is in use as long as the one above it is open; and its file after it.
        foreach (var layer in layers)
        {
            List<UndoAction> nodes = [];
            if (layer.FileNode is { } file && !GraphNode.IsMadeUp(file))
            {
                nodes.Add(new UndoAction.Node(file));
            }

            if (!layer.HasMadeUpName)
            {
                nodes.Add(new UndoAction.Node(layer.Name));
            }

            var errors = await new UndoExecutor(session.Monitor, _options.Time).UndoAllAsync(nodes)
                .ConfigureAwait(false);
            foreach (var error in errors)
            {
                _options.Note($"a node stays open at the hypervisor: {error}");
            }
        }
    }

    private void DeleteFiles(GraphNode[] layers)
    {
        foreach (var layer in layers.Where(layer => layer.Filename.StartsWith('/')))
        {
            try
            {
                File.Delete(layer.Filename);
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                _options.Note($"'{layer.Filename}' could not be deleted: {exception.Message}");
            }
        }
    }

    private static void Need(DomainSession session, params string[] commands)
    {
        if (commands.Where(command => !session.Capabilities.Has(command)).ToList() is { Count: > 0 } missing)
        {
            throw new BackupException(
                BackupErrorKind.Conflict, $"the hypervisor has no {string.Join(", ", missing)}; QEMU 5.2 or newer has");
        }
    }

    private async Task<DomainSession> OpenAsync(CancellationToken cancellationToken)
    {
        var session = await DomainSession.OpenAsync(_options, _source, onlyLooks: false, cancellationToken)
            .ConfigureAwait(false);
        if (session.ReadRunningJob() is { } running)
        {
            await session.DisposeAsync().ConfigureAwait(false);
            throw ErrorClass.OperationInvalid.ToException(
                $"a backup is running (run {running.RunId}). Wait for its end, or end it with domjobabort");
        }

        return session;
    }
}
