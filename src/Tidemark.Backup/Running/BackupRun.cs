// Carries a plan out.
//
//   for each step:   journal what takes it back (durable), remember it, do it
//   at the end:      take back everything but the checkpoint (ReleaseAsync), then the restore point is committed
//   on a failure:    take back everything, last to first (UndoAsync)
//
// A command that the hypervisor refused had no effect, so nothing of it is taken back: what it names may be another's.
// Where the answer is not known (the monitor was closed), the effect counts as possible.

using System.Text.Json.Nodes;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Journal;
using Tidemark.Backup.Planning;
using Tidemark.Backup.Transfer;
using Tidemark.Qmp;

namespace Tidemark.Backup.Running;

/// <summary>One run: from the first effect to the last undo.</summary>
internal sealed class BackupRun
{
    private readonly BackupPlan _plan;
    private readonly RunJournal _journal;
    private readonly ITransfer _transfer;
    private readonly IReadOnlyList<DiskTransfer> _disks;
    private readonly IBackupProgress _progress;
    private readonly TimeProvider _time;
    private readonly List<UndoAction> _undo = [];
    private ScratchGuard? _guard;

    internal BackupRun(
        BackupPlan plan,
        RunJournal journal,
        ITransfer transfer,
        IReadOnlyList<DiskTransfer> disks,
        IBackupProgress progress,
        TimeProvider time)
    {
        _plan = plan;
        _journal = journal;
        _transfer = transfer;
        _disks = disks;
        _progress = progress;
        _time = time;
    }

    /// <summary>The instant of the transaction.</summary>
    internal DateTimeOffset Instant { get; private set; }

    /// <summary>Carries out every step. When it returns, every chunk is decided and the frozen views held to the
    /// end.</summary>
    internal async Task ExecuteAsync(
        IMonitor monitor, HypervisorCapabilities capabilities, CancellationToken cancellationToken)
    {
        using var jobs = new JobWatcher(monitor, _time);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task<BackupException?>? guarding = null;
        try
        {
            foreach (var step in _plan.Steps)
            {
                // From before the instant: the scratch grows from then on.
                if (step is PlanStep.Transaction && _guard is { IsNeeded: true } guard)
                {
                    guarding = GuardAsync(guard, monitor, stop);
                }

                await ExecuteStepAsync(step, monitor, capabilities, jobs, stop.Token).ConfigureAwait(false);
            }
        }
        catch (Exception exception) when (guarding is not null)
        {
            // What else fails after the guard gave up follows from that.
            await stop.CancelAsync().ConfigureAwait(false);
            if (await guarding.ConfigureAwait(false) is { } reason)
            {
                throw new BackupException(reason.Kind, reason.Message, exception);
            }

            throw;
        }

        if (guarding is not null)
        {
            await stop.CancelAsync().ConfigureAwait(false);
            if (await guarding.ConfigureAwait(false) is { } reason)
            {
                throw reason;
            }
        }
    }

    // Gives up: the jobs first of all, because they are what makes the guest's writes depend on the scratch.
    private async Task<BackupException?> GuardAsync(
        ScratchGuard guard, IMonitor monitor, CancellationTokenSource stop)
    {
        var reason = await guard.WatchAsync(stop.Token).ConfigureAwait(false);
        if (reason is not null)
        {
            Task cancelling = Task.WhenAll(_plan.Disks.Select(disk => monitor.ExecuteAsync(
                new QmpCommand("job-cancel", new JsonObject { ["id"] = disk.JobId }), CancellationToken.None)));
            await stop.CancelAsync().ConfigureAwait(false);

            // A job that is not there yet or not any more is the undo's matter, and so is a hypervisor that hangs.
            await cancelling.WaitAsync(BackupLimits.UndoCommandTimeout, _time)
                .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        return reason;
    }

    private async Task ExecuteStepAsync(
        PlanStep step,
        IMonitor monitor,
        HypervisorCapabilities capabilities,
        JobWatcher jobs,
        CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        _journal.WillDo(step.Undo);
        var before = _undo.Count;
        _undo.AddRange(step.Undo);
        try
        {
            await ExecuteAsync(step, monitor, capabilities, jobs, cancellationToken).ConfigureAwait(false);
        }
        catch (QmpException exception)
        {
            if (WasRefused(step, exception))
            {
                _undo.RemoveRange(before, _undo.Count - before);
            }

            throw Explain(step, exception);
        }
    }

    /// <summary>After the last byte: removes all that was temporary.</summary>
    /// <returns>What could not be removed.</returns>
    internal async Task<IReadOnlyList<string>> ReleaseAsync(IMonitor monitor)
    {
        await _transfer.LetGoAsync().ConfigureAwait(false);
        var temporary = _undo.FindAll(action => action is not UndoAction.CheckpointBitmap);
        var errors = await new UndoExecutor(monitor, _time).UndoAllAsync(temporary).ConfigureAwait(false);
        if (errors.Count == 0)
        {
            _undo.RemoveAll(action => action is not UndoAction.CheckpointBitmap);
        }

        return errors;
    }

    /// <summary>Removes everything, the new checkpoint included.</summary>
    /// <param name="monitor">The hypervisor; null when it cannot be reached any more.</param>
    /// <returns>What could not be removed.</returns>
    internal async Task<IReadOnlyList<string>> UndoAsync(IMonitor? monitor)
    {
        await _transfer.LetGoAsync().ConfigureAwait(false);
        return await new UndoExecutor(monitor, _time).UndoAllAsync(_undo).ConfigureAwait(false);
    }

    private async Task ExecuteAsync(
        PlanStep step,
        IMonitor monitor,
        HypervisorCapabilities capabilities,
        JobWatcher jobs,
        CancellationToken cancellationToken)
    {
        switch (step)
        {
            case PlanStep.CheckScratch check:
                _guard = new ScratchGuard(check.Directories, check.FreeBytes, _time);
                _guard.Check();
                break;
            case PlanStep.MakeDirectory make:
                MakeDirectory(make.Path);
                break;
            case PlanStep.Command command:
                await monitor.ExecuteAsync(command.Qmp, cancellationToken).ConfigureAwait(false);
                if (command.Qmp.Name == "nbd-server-start")
                {
                    _journal.ServerStarted();
                }

                break;
            case PlanStep.Job job:
                await RunJobAsync(job, monitor, jobs, cancellationToken).ConfigureAwait(false);
                break;
            case PlanStep.Unlink unlink:
                Unlink(unlink.Path);
                break;
            case PlanStep.Serve serve:
                await _transfer.ServeAsync(serve, cancellationToken).ConfigureAwait(false);
                break;
            case PlanStep.Transaction transaction:
                _progress.Phase(step.Purpose);
                await monitor.ExecuteAsync(transaction.ToCommand(), cancellationToken).ConfigureAwait(false);
                Instant = _time.GetUtcNow();
                await ReadCountsAsync(monitor, capabilities, cancellationToken).ConfigureAwait(false);
                break;
            case PlanStep.Transfer:
                _progress.Phase(step.Purpose);
                await _transfer.RunAsync(jobs, cancellationToken).ConfigureAwait(false);
                break;
            default:
                throw new InvalidOperationException($"an unknown step: {step.Purpose}");
        }
    }

    private static async Task RunJobAsync(
        PlanStep.Job step, IMonitor monitor, JobWatcher jobs, CancellationToken cancellationToken)
    {
        await monitor.ExecuteAsync(step.Qmp, cancellationToken).ConfigureAwait(false);
        var job = await jobs.WaitForEndAsync(step.JobId, cancellationToken).ConfigureAwait(false);
        if (job?.Error is { } error)
        {
            throw new BackupException(BackupErrorKind.Hypervisor, $"could not {step.Purpose}: {error}");
        }

        if (job is not null)
        {
            await monitor.ExecuteAsync(
                new QmpCommand("job-dismiss", new JsonObject { ["id"] = step.JobId }),
                cancellationToken).ConfigureAwait(false);
        }
    }

    // The temporary bitmaps do not record, so their counts are those of the instant, whenever they are asked for.
    private async Task ReadCountsAsync(
        IMonitor monitor, HypervisorCapabilities capabilities, CancellationToken cancellationToken)
    {
        if (_disks.All(disk => disk.Plan.Temporary is null))
        {
            return;
        }

        var graph = await HypervisorReader.ReadGraphAsync(monitor, capabilities, cancellationToken)
            .ConfigureAwait(false);
        foreach (var disk in _disks)
        {
            if (disk.Plan.Temporary is { } temporary)
            {
                disk.DirtyBytes = graph.Find(temporary.Node)?.FindBitmap(temporary.Name)?.Count
                    ?? throw new BackupException(
                        BackupErrorKind.Hypervisor,
                        $"the hypervisor does not show bitmap '{temporary.Name}' on node '{temporary.Node}' after it "
                            + $"made it");
            }
        }
    }

    private static void MakeDirectory(string path)
    {
        try
        {
            Directory.CreateDirectory(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new BackupException(BackupErrorKind.State, $"could not make '{path}': {exception.Message}",
                exception);
        }
    }

    // What cannot be unlinked now could not be removed at the end either. Nothing is frozen yet, so this is the time to
    // say so.
    private static void Unlink(string path)
    {
        try
        {
            if (!File.Exists(path))
            {
                throw new BackupException(
                    BackupErrorKind.Hypervisor,
                    $"the hypervisor made the scratch file '{path}', but it cannot be seen from here: the hypervisor's "
                        + "files are on another host, or in another container. It is empty; remove it there, and use "
                        + "--mode push");
            }

            File.Delete(path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new BackupException(
                BackupErrorKind.State,
                $"could not unlink the scratch file '{path}': {exception.Message}. Run the backup as a user who may "
                    + "write there, or use --mode push",
                exception);
        }
    }

    // Whether the step's own command was refused, not a question that came after it.
    private static bool WasRefused(PlanStep step, QmpException exception) =>
        exception.ErrorClass is not (QmpException.MonitorClosed or QmpException.ProtocolError)
        && step switch
        {
            PlanStep.Command command => exception.Command == command.Qmp.Name,
            PlanStep.Transaction transaction => exception.Command == transaction.ToCommand().Name,
            _ => false,
        };

    private static BackupException Explain(PlanStep step, QmpException exception)
    {
        var advice = exception.Description.Contains("NBD server already running", StringComparison.Ordinal)
            ? ". A hypervisor has one NBD server at most: name the one that it runs with --nbd URI"
            : "";
        return new BackupException(
            BackupErrorKind.Hypervisor, $"could not {step.Purpose}: {exception.Message}{advice}", exception);
    }
}
