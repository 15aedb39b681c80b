// A domain's backups, without a daemon of ours:
//
//   begin    lock, finish what earlier commands left, plan, then each step journalled before its effect. When every
//            step is done the journal says "begun" and the command ends: the jobs go on at the hypervisor
//   later    any command finds the backup by the journal and the hypervisor's jobs, which stay in its list when they
//            have ended (auto-dismiss=false)
//   the end  whoever sees it first finishes it: JobSettler, at the start of every command, or at once in Follow
//
// See docs/design/010-a-backup-without-a-daemon.md.

using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Journal;
using Tidemark.Backup.Planning;
using Tidemark.Backup.Running;
using Tidemark.Backup.Xml;

namespace Tidemark.Backup.Domains;

/// <summary>Begins, follows and ends the backups of one domain.</summary>
public sealed class DomainService
{
    private readonly DomainServiceOptions _options;
    private readonly HypervisorSource _source;

    /// <summary>Creates a service.</summary>
    /// <param name="options">Where the state is kept.</param>
    /// <param name="source">The hypervisor.</param>
    public DomainService(DomainServiceOptions options, HypervisorSource source)
    {
        _options = options;
        _source = source;
    }

    /// <summary>Begins a backup. When the task completes, the backup runs at the hypervisor.</summary>
    /// <param name="request">What is asked for.</param>
    /// <param name="cancellationToken">Gives up: everything is taken back before the task ends.</param>
    /// <exception cref="BackupException">It could not begin; nothing of it is left, or
    /// <see cref="BackupException.UndoErrors"/> says what is.</exception>
    public async Task<DomainJobInfo> BeginAsync(BackupBegin request, CancellationToken cancellationToken = default)
    {
        var session = await OpenAsync(onlyLooks: false, cancellationToken).ConfigureAwait(false);
        await using var _ = session.ConfigureAwait(false);
        if (session.ReadRunningJob() is { } running)
        {
            throw ErrorClass.OperationInvalid.ToException(
                $"another backup job is already running (run {running.RunId}). Wait for its end, or end it with "
                    + "domjobabort");
        }

        var plan = await PlanAsync(session, request, cancellationToken).ConfigureAwait(false);
        foreach (var note in plan.Notes)
        {
            _options.Note(note);
        }

        using var journal = RunJournal.Create(
            session.Folder.Run.JournalPath, plan.RunId, session.DomainName, session.SourceName);
        var steps = new StepExecutor(journal, _options.Time);
        try
        {
            await BeginAsync(session, plan, request, steps, journal, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            SayFailed(journal);
            await JournaledWork.TakeBackAsync(session, steps, journal, exception).ConfigureAwait(false);
            throw;
        }

        var jobs = await HypervisorReader.ReadJobsAsync(session.Monitor, CancellationToken.None)
            .ConfigureAwait(false);
        return JobInfoReader.Make(session.ReadRunningJob()!, jobs, _options.Time.GetUtcNow(), null);
    }

    /// <summary>The definition of the backup that runs, with its defaults.</summary>
    /// <exception cref="BackupException">None runs.</exception>
    public async Task<string> DumpAsync(CancellationToken cancellationToken = default)
    {
        var session = await OpenAsync(onlyLooks: true, cancellationToken).ConfigureAwait(false);
        await using var _ = session.ConfigureAwait(false);
        return session.ReadRunningJob()?.Job?.Definition ?? throw new BackupException(
            BackupErrorKind.Request, "Domain backup job id not found: no domain backup job present");
    }

    /// <summary>How the backup goes that runs; null when none does.</summary>
    public async Task<DomainJobInfo?> ReadJobAsync(CancellationToken cancellationToken = default)
    {
        var session = await OpenAsync(onlyLooks: true, cancellationToken).ConfigureAwait(false);
        await using var _ = session.ConfigureAwait(false);
        var jobs = await HypervisorReader.ReadJobsAsync(session.Monitor, cancellationToken).ConfigureAwait(false);
        if (session.ReadRunningJob() is not { } record)
        {
            if (StrayRuns.Describe(_options, session.Folder, jobs.Select(job => job.Id)) is { } stray)
            {
                _options.Note(stray);
            }

            return null;
        }

        return JobInfoReader.Make(
            record, jobs, _options.Time.GetUtcNow(), record.Job!.Nbd is { } nbd ? NbdClients.Count(nbd) : null);
    }

    /// <summary>How the last backup ended; null when none has.</summary>
    public async Task<DomainJobInfo?> ReadCompletedAsync(CancellationToken cancellationToken = default)
    {
        // A backup whose jobs have ended is finished first, if its hypervisor can be reached.
        try
        {
            await (await OpenAsync(onlyLooks: true, cancellationToken).ConfigureAwait(false)).DisposeAsync()
                .ConfigureAwait(false);
        }
        catch (BackupException exception) when (exception.Kind == BackupErrorKind.Hypervisor)
        {
            _options.Note(exception.Message);
        }

        return DomainSession.ReadCompleted(DomainSession.FolderOf(_options, _source));
    }

    /// <summary>Ends the backup that runs. A push is given up. A pull has been finished by its client, unless
    /// <paramref name="givesUp"/> says otherwise: those are two results.</summary>
    /// <exception cref="BackupException">None runs, or something could not be taken back.</exception>
    public async Task<DomainJobInfo> AbortAsync(bool givesUp, CancellationToken cancellationToken = default)
    {
        var session = await OpenAsync(onlyLooks: false, cancellationToken).ConfigureAwait(false);
        await using var _ = session.ConfigureAwait(false);
        if (session.ReadRunningJob() is not { } record)
        {
            var jobs = await HypervisorReader.ReadJobsAsync(session.Monitor, cancellationToken).ConfigureAwait(false);
            throw ErrorClass.OperationInvalid.ToException(
                StrayRuns.Describe(_options, session.Folder, jobs.Select(job => job.Id)) is { } stray
                    ? $"no job is active on the domain; but {stray}"
                    : "no job is active on the domain");
        }

        var isFinished = record.Job!.Mode == BackupMode.Pull && !givesUp;
        return await new JobSettler(session).EndAsync(
            record,
            isFinished ? JobResult.Completed : JobResult.Cancelled,
            isFinished ? null : JobJudge.Cancelled,
            cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Follows a backup to its end, and finishes it at once.</summary>
    /// <param name="runId">The backup's run.</param>
    /// <param name="clientTimeout">Pull: how long no client may be connected after one was, before the backup is given
    /// up; null for ever.</param>
    /// <param name="report">Told how it goes.</param>
    /// <param name="cancellationToken">Ends the following; the backup goes on.</param>
    public Task<DomainJobInfo> FollowAsync(
        string runId,
        TimeSpan? clientTimeout,
        Action<DomainJobInfo>? report = null,
        CancellationToken cancellationToken = default) =>
        new JobFollower(_options, _source, clientTimeout, report ?? (static _ => { }))
            .FollowAsync(runId, cancellationToken);

    /// <summary>Reports what happens to the domain's backups, and finishes them when they end.</summary>
    /// <param name="isToGoOn">Called with each event; false ends the watch.</param>
    /// <param name="clientTimeout">As in <see cref="FollowAsync"/>.</param>
    /// <param name="cancellationToken">Ends the watch.</param>
    public Task WatchAsync(
        Func<DomainEvent, bool> isToGoOn,
        TimeSpan? clientTimeout = null,
        CancellationToken cancellationToken = default) =>
        new DomainEventWatcher(_options, _source, clientTimeout).WatchAsync(isToGoOn, cancellationToken);

    /// <summary>The domain's disks.</summary>
    public async Task<IReadOnlyList<AttachedDisk>> ListDisksAsync(CancellationToken cancellationToken = default)
    {
        var session = await OpenAsync(onlyLooks: true, cancellationToken).ConfigureAwait(false);
        await using var _ = session.ConfigureAwait(false);
        return session.FindDisks(await session.ReadGraphAsync(cancellationToken).ConfigureAwait(false));
    }

    private async Task BeginAsync(
        DomainSession session,
        DomainBackupPlan plan,
        BackupBegin request,
        StepExecutor steps,
        RunJournal journal,
        CancellationToken cancellationToken)
    {
        journal.Job(Describe(plan, request));
        if (plan.Checkpoint is { } checkpoint)
        {
            // A definition that cannot be written is found here, before anything is frozen.
            steps.WillDo(new UndoAction.CheckpointFile(session.Checkpoints.PathOf(checkpoint.Name!)));
            steps.WillDo(new UndoAction.LocalFile(session.Checkpoints.PreparedPathOf(checkpoint.Name!)));
            session.Checkpoints.Prepare(checkpoint);
        }

        using var jobs = new JobWatcher(session.Monitor, _options.Time);

        // From the transfer on the backup is the hypervisor's and its client's.
        foreach (var step in plan.Steps.TakeWhile(step => step is not PlanStep.Transfer))
        {
            if (step is PlanStep.Transaction
                && (request.ReuseExternal || plan.Disks.Any(disk => disk.Kind == ImageKind.Block)))
            {
                RefuseOtherSize(plan, await session.ReadGraphAsync(cancellationToken).ConfigureAwait(false));
            }

            await steps.ExecuteAsync(step, session.Monitor, jobs, null, cancellationToken).ConfigureAwait(false);
        }

        if (plan.Checkpoint is not null)
        {
            session.Checkpoints.Commit(plan.Checkpoint);
        }

        journal.Begun(steps.Instant);
    }

    // The hypervisor refuses it as well, but does not say which disk it is about.
    private static void RefuseOtherSize(DomainBackupPlan plan, GraphSnapshot graph)
    {
        foreach (var disk in plan.Disks)
        {
            if (graph.Find(disk.ImageNode) is { } image && image.VirtualSize != disk.Size)
            {
                throw new BackupException(
                    BackupErrorKind.Conflict,
                    $"disk '{disk.Name}' has {disk.Size} bytes, and the {disk.Format} image in '{disk.Image.Path}' "
                        + $"{image.VirtualSize}: it must be of the disk's size"
                        + (disk.Format == "raw" ? ", or be a qcow2 image" : ""));
            }
        }
    }

    private async Task<DomainBackupPlan> PlanAsync(
        DomainSession session, BackupBegin request, CancellationToken cancellationToken)
    {
        var graph = await session.ReadGraphAsync(cancellationToken).ConfigureAwait(false);
        var tree = session.Checkpoints.Load();
        var outcome = DomainBackupPlanner.Plan(
            new DomainBackupRequest
            {
                RunId = _options.NewRunId(),
                Backup = request.Backup,
                Checkpoint = request.Checkpoint,
                Disks = [.. session.FindDisks(graph).Select(disk => disk.ToDefinition())],
                Time = _options.Time.GetUtcNow().ToUnixTimeSeconds(),
                Checkpoints = tree.All.ToDictionary(one => one.Name!, StringComparer.Ordinal),
                CurrentCheckpoint = tree.Current,
                ReuseExternal = request.ReuseExternal,
                FallBackToFull = request.FallBackToFull,
                Granularity = request.Granularity,
                TlsDirectory = request.TlsDirectory,
                SecretFiles = request.SecretFiles,
                NbdRuns = request.NbdRuns,
            },
            graph,
            session.Capabilities);
        return outcome switch
        {
            DomainBackupPlan plan => plan,
            PlanConflict conflict => throw new BackupException(BackupErrorKind.Conflict, conflict.ToString())
            {
                Class = conflict.Class,
            },
            _ => throw new InvalidOperationException("neither a plan nor a conflict"),
        };
    }

    // Whoever comes later must not take it for a backup that goes on. If even that cannot be written, what is taken
    // back now is all that can be done.
    private void SayFailed(RunJournal journal)
    {
        try
        {
            journal.Failed();
        }
        catch (BackupException exception)
        {
            _options.Note(exception.Message);
        }
    }

    private static JournalJob Describe(DomainBackupPlan plan, BackupBegin request) => new()
    {
        Mode = plan.Mode,
        Checkpoint = plan.Checkpoint?.Name,
        KeepsCheckpoint = request.KeepCheckpoint,
        Nbd = plan.Nbd,
        Definition = BackupXml.Format(plan.Backup),
        Disks =
        [
            .. plan.Disks.Select(disk => new JournalJobDisk
            {
                Name = disk.Name,
                Node = disk.NodeName,
                JobId = disk.JobId,
                TargetNode = disk.ImageNode,
                Export = disk.ExportId is { } id ? new JournalExport(id, disk.ExportName!, disk.Temporary?.Name) : null,
                Size = disk.Size,
                IsIncremental = disk.Mode == DiskBackupMode.Incremental,
                Reason = disk.Reason.Length > 0 ? disk.Reason : null,
                Source = disk.Chain.Top.Filename,
                Target = disk.Image.Path,
            }),
        ],
    };

    private Task<DomainSession> OpenAsync(bool onlyLooks, CancellationToken cancellationToken) =>
        DomainSession.OpenAsync(_options, _source, onlyLooks, cancellationToken);
}
