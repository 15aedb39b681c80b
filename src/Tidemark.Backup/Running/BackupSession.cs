using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Journal;
using Tidemark.Backup.Planning;
using Tidemark.Backup.RestorePoints;
using Tidemark.Backup.Rules;
using Tidemark.Backup.Transfer;
using Tidemark.Qmp;
using Tidemark.Repository.Snapshots;

namespace Tidemark.Backup.Running;

/// <summary>The steps 5 to 9 of a backup (see <see cref="BackupService"/>): plan, run, release, commit,
/// retire.</summary>
internal sealed class BackupSession
{
    private readonly BackupServiceOptions _options;
    private readonly BackupRequest _request;
    private readonly HypervisorSource _source;
    private readonly Repository.Repository _repository;
    private readonly SnapshotWriter _writer;
    private readonly RunFolder _folder;
    private readonly IBackupProgress _progress;

    internal BackupSession(
        BackupServiceOptions options,
        BackupRequest request,
        HypervisorSource source,
        Repository.Repository repository,
        SnapshotWriter writer,
        RunFolder folder,
        IBackupProgress progress)
    {
        _options = options;
        _request = request;
        _source = source;
        _repository = repository;
        _writer = writer;
        _folder = folder;
        _progress = progress;
    }

    internal async Task<BackupReport> RunAsync(
        IMonitor monitor, HypervisorCapabilities capabilities, CancellationToken cancellationToken)
    {
        _progress.Phase("planning");
        var graph = await HypervisorReader.ReadGraphAsync(monitor, capabilities, cancellationToken)
            .ConfigureAwait(false);
        var roots = _request.Disks.Count > 0
            ? [.. _request.Disks.Select(disk => DiskFinder.Find(graph, disk, out _)).OfType<DiskRoot>()]
            : DiskFinder.FindUsed(graph, out _);
        var parents = await ParentFinder.FindAsync(
            _repository,
            _request.VmName,
            roots.Select(root => root.Name),
            (disk, bitmap) => BitmapChain.Validate(
                graph.ChainOf(roots.First(root => root.Name == disk).Node), bitmap).IsValid,
            _progress.Note,
            cancellationToken).ConfigureAwait(false);
        var plan = Plan(graph, parents, capabilities);
        foreach (var note in plan.Notes)
        {
            _progress.Note(note);
        }

        var disks = plan.Disks.Select(disk => Prepare(disk, parents.GetValueOrDefault(disk.Name))).ToList();
        ITransfer transfer = plan.Mode == BackupMode.Pull
            ? new PullTransfer(plan.Nbd, disks, _options.Time)
            : new PushTransfer(disks, _folder.Path, _options.Time);
        await using var disposing = transfer.ConfigureAwait(false);
        using var journal = RunJournal.Create(_folder.JournalPath, plan.RunId, _request.VmName, _source.Name);
        var run = new BackupRun(plan, journal, transfer, disks, _progress, _options.Time);
        Snapshot snapshot;
        try
        {
            await ReportWhileAsync(
                disks, run.ExecuteAsync(monitor, capabilities, cancellationToken)).ConfigureAwait(false);
            _progress.Phase("releasing the hypervisor");
            if (await run.ReleaseAsync(monitor).ConfigureAwait(false) is { Count: > 0 } errors)
            {
                throw new BackupException(
                    BackupErrorKind.Hypervisor, $"the hypervisor could not be released: {errors[0]}");
            }

            _progress.Phase("committing the restore point");
            snapshot = await CommitAsync(plan, parents, disks, run.Instant, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            await UndoAsync(run, journal, monitor, exception).ConfigureAwait(false);
            throw;
        }

        await RetireAsync(plan, journal, snapshot, monitor).ConfigureAwait(false);
        return Report(plan, disks, snapshot);
    }

    private BackupPlan Plan(
        GraphSnapshot graph, Dictionary<string, ParentPoint> parents, HypervisorCapabilities capabilities)
    {
        var runId = _options.NewRunId();
        var route = _source.TcpHost is { } host ? HostRoute.Find(host) : null;
        var place = NbdPlace.Choose(_request, route, runId);
        var outcome = BackupPlanner.Plan(
            new PlanRequest
            {
                RunId = runId,
                Mode = _request.Mode,
                Disks = _request.Disks,
                Full = _request.Full,
                Nbd = place.Address,
                NbdRuns = place.Runs,
                RunDirectory = place.RunDirectory,
                RemoteHost = route is { IsThisHost: false } ? _source.TcpHost : null,
                ScratchDirectory = _request.ScratchDirectory,
            },
            graph,
            parents.ToDictionary(pair => pair.Key, pair => pair.Value.Facts),
            capabilities);
        return outcome as BackupPlan
            ?? throw new BackupException(BackupErrorKind.Conflict, ((PlanConflict)outcome).ToString());
    }

    private DiskTransfer Prepare(PlannedDisk disk, ParentPoint? parent)
    {
        // Only an increment is given a parent to inherit from: a whole read cannot inherit by mistake.
        var inherits = disk.Kind == DiskKind.Incremental;
        var writer = _writer.AddDisk(disk.Name, disk.Size, disk.ChunkSize, inherits ? parent!.Disk : null);
        return new DiskTransfer(disk, writer, inherits ? new ParentChunks(_repository, parent!.Disk) : null);
    }

    private async Task<Snapshot> CommitAsync(
        BackupPlan plan,
        Dictionary<string, ParentPoint> parents,
        List<DiskTransfer> disks,
        DateTimeOffset instant,
        CancellationToken cancellationToken)
    {
        foreach (var disk in disks)
        {
            await disk.Writer.CompleteAsync(cancellationToken).ConfigureAwait(false);
        }

        var manifest = new SnapshotManifest
        {
            VmName = _request.VmName,
            Mode = plan.Mode,
            RunId = plan.RunId,
            Checkpoint = CheckpointOf(plan),
            Disks = [.. disks.Select(Describe)],
        };
        var newest = plan.Disks.Where(disk => disk.Parent is not null)
            .Select(disk => parents[disk.Name].Snapshot).OrderBy(one => one.Time).LastOrDefault();
        return await _writer.CommitAsync(
            new SnapshotDescription
            {
                VmName = _request.VmName,
                Time = instant,
                Parent = newest?.Id,
                Files = new Dictionary<string, ReadOnlyMemory<byte>> { [SnapshotManifest.FileName] =
                    manifest.ToJson() },
            },
            cancellationToken).ConfigureAwait(false);
    }

    private static ManifestDisk Describe(DiskTransfer disk)
    {
        var report = Report(disk);
        var plan = disk.Plan;
        return new ManifestDisk
        {
            Name = plan.Name,
            Node = plan.NodeName,
            Driver = plan.Driver,
            Filename = plan.Filename,
            Size = plan.Size,
            ChunkSize = plan.ChunkSize,
            Kind = report.Kind,
            Reason = report.Reason,
            Parent = report.Parent,
            Bitmap = plan.Checkpoint?.Name,
            Granularity = plan.Checkpoint is null ? 0 : plan.Granularity,
            BytesDirty = report.BytesDirty,
            BytesRead = report.BytesRead,
            BytesStored = report.BytesStored,
            Seconds = report.Seconds,
        };
    }

    private static DiskReport Report(DiskTransfer disk)
    {
        var incremental = disk.Plan.Kind == DiskKind.Incremental && disk.Escalation is null;
        return new DiskReport
        {
            Name = disk.Plan.Name,
            Size = disk.Plan.Size,
            Kind = disk.Escalation is null ? disk.Plan.Kind : DiskKind.ReRead,
            Reason = disk.Escalation ?? disk.Plan.Reason,
            Parent = disk.Plan.Parent?.SnapshotId,
            BytesDirty = incremental ? Math.Min(disk.DirtyBytes, disk.Plan.Size) : disk.Plan.Size,
            BytesRead = disk.Counters.BytesRead,
            BytesStored = disk.Writer.Counters.BytesStored,
            Seconds = disk.Elapsed.TotalSeconds,
        };
    }

    private BackupReport Report(BackupPlan plan, List<DiskTransfer> disks, Snapshot snapshot) => new()
    {
        SnapshotId = snapshot.Id.ToString(),
        Name = _request.VmName,
        Mode = plan.Mode,
        Checkpoint = CheckpointOf(plan),
        Disks = [.. disks.Select(Report)],
    };

    private static string? CheckpointOf(BackupPlan plan) =>
        plan.Disks.Any(disk => disk.Checkpoint is not null) ? plan.CheckpointId : null;

    // The new restore point is durable, so the older checkpoint of this repository is needed by nobody. That it cannot
    // be removed is no failure of the backup; where the monitor was lost, the journal makes the next run do it.
    private async Task RetireAsync(BackupPlan plan, RunJournal journal, Snapshot snapshot, IMonitor monitor)
    {
        UndoAction[] superseded =
        [
            .. plan.Disks.SelectMany(disk => disk.Superseded)
                .Select(old => new UndoAction.TemporaryBitmap(old.Node, old.Name)),
        ];
        try
        {
            journal.Committed(snapshot.Id.ToString(), superseded);
        }
        catch (BackupException exception)
        {
            _progress.Note($"{exception.Message}; the superseded bitmaps stay, and the next backup may read whole "
                + "disks");
            return;
        }

        var errors = await new UndoExecutor(monitor, _options.Time).UndoAllAsync(superseded).ConfigureAwait(false);
        foreach (var error in errors)
        {
            _progress.Note($"the superseded checkpoint is not removed yet: {error}");
        }

        if (!monitor.Closed.IsCompleted)
        {
            journal.Delete();
        }
    }

    // Takes everything back. The error that made it necessary stays the first one.
    private async Task UndoAsync(BackupRun run, RunJournal journal, IMonitor monitor, Exception cause)
    {
        _progress.Phase("taking everything back");
        IReadOnlyList<string> errors = [];
        if (!monitor.Closed.IsCompleted)
        {
            errors = await run.UndoAsync(monitor).ConfigureAwait(false);
        }

        // Closed before, or meanwhile. What was undone already is no error the second time.
        var reachable = !monitor.Closed.IsCompleted;
        if (!reachable)
        {
            var other = await ReconnectAsync().ConfigureAwait(false);
            reachable = other is not null;
            errors = await run.UndoAsync(other).ConfigureAwait(false);
            if (other is not null)
            {
                await other.DisposeAsync().ConfigureAwait(false);
            }
        }

        if (!reachable)
        {
            _progress.Note(
                $"{_source.Name} cannot be reached any more; if it still runs, the next backup removes what this one "
                    + "left there");
        }
        else if (errors.Count == 0)
        {
            journal.Delete();
        }

        if (errors.Count > 0)
        {
            if (cause is BackupException backup)
            {
                throw new BackupException(backup.Kind, backup.Message, backup)
                {
                    Class = backup.Class, UndoErrors = errors,
                };
            }

            foreach (var error in errors)
            {
                _progress.Note($"not taken back: {error}");
            }
        }
    }

    private async Task<IMonitor?> ReconnectAsync()
    {
        using var limit = new CancellationTokenSource(_options.ReconnectTimeout, _options.Time);
        while (true)
        {
            try
            {
                return await _source.ConnectAsync(limit.Token).ConfigureAwait(false);
            }
            catch (Exception exception) when (exception is QmpException or OperationCanceledException
                or BackupException)
            {
                if (limit.IsCancellationRequested)
                {
                    return null;
                }
            }

            try
            {
                await Task.Delay(BackupLimits.JobPollInterval, _options.Time, limit.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                return null;
            }
        }
    }

    private async Task ReportWhileAsync(List<DiskTransfer> disks, Task work)
    {
        using var timer = new PeriodicTimer(_options.ProgressInterval, _options.Time);
        while (!work.IsCompleted)
        {
            var tick = timer.WaitForNextTickAsync().AsTask();
            await Task.WhenAny(work, tick).ConfigureAwait(false);
            ReportProgress(disks);
            if (work.IsCompleted)
            {
                timer.Dispose();
            }

            await tick.ConfigureAwait(false);
        }

        await work.ConfigureAwait(false);
        ReportProgress(disks);
    }

    private void ReportProgress(List<DiskTransfer> disks)
    {
        var total = disks.ConvertAll(disk => new DiskProgress(
            disk.Plan.Name, disk.Counters.BytesDone, disk.Counters.BytesTotal, disk.Counters.BytesRead));
        _progress.Report(total);
    }
}
