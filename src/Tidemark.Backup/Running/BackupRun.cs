// Carries a plan out: every step by StepExecutor, and beside it the transfer of the bytes into the repository.
//
//   at the end:      take back everything but the checkpoint (ReleaseAsync), then the restore point is committed
//   on a failure:    take back everything, last to first (UndoAsync)

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
    private readonly ITransfer _transfer;
    private readonly IReadOnlyList<DiskTransfer> _disks;
    private readonly IBackupProgress _progress;
    private readonly TimeProvider _time;
    private readonly StepExecutor _steps;

    internal BackupRun(
        BackupPlan plan,
        RunJournal journal,
        ITransfer transfer,
        IReadOnlyList<DiskTransfer> disks,
        IBackupProgress progress,
        TimeProvider time)
    {
        _plan = plan;
        _steps = new StepExecutor(journal, time);
        _transfer = transfer;
        _disks = disks;
        _progress = progress;
        _time = time;
    }

    /// <summary>The instant of the transaction.</summary>
    internal DateTimeOffset Instant => _steps.Instant;

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
                if (step is PlanStep.Transaction && _steps.Guard is { IsNeeded: true } guard)
                {
                    guarding = GuardAsync(guard, monitor, stop);
                }

                if (step is PlanStep.Transaction)
                {
                    _progress.Phase(step.Purpose);
                }

                await _steps.ExecuteAsync(
                    step, monitor, jobs, (bytes, token) => MoveBytesAsync(bytes, jobs, token), stop.Token)
                        .ConfigureAwait(false);
                if (step is PlanStep.Transaction)
                {
                    await ReadCountsAsync(monitor, capabilities, jobs, stop.Token).ConfigureAwait(false);
                }
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

    /// <summary>After the last byte: removes all that was temporary.</summary>
    /// <returns>What could not be removed.</returns>
    internal async Task<IReadOnlyList<string>> ReleaseAsync(IMonitor monitor)
    {
        await _transfer.LetGoAsync().ConfigureAwait(false);
        return await _steps.ReleaseAsync(monitor, action => action is UndoAction.CheckpointBitmap)
            .ConfigureAwait(false);
    }

    /// <summary>Removes everything, the new checkpoint included.</summary>
    /// <param name="monitor">The hypervisor; null when it cannot be reached any more.</param>
    /// <returns>What could not be removed.</returns>
    internal async Task<IReadOnlyList<string>> UndoAsync(IMonitor? monitor)
    {
        await _transfer.LetGoAsync().ConfigureAwait(false);
        return await _steps.UndoAllAsync(monitor).ConfigureAwait(false);
    }

    private Task MoveBytesAsync(PlanStep step, JobWatcher jobs, CancellationToken cancellationToken)
    {
        if (step is PlanStep.Serve serve)
        {
            return _transfer.ServeAsync(serve, cancellationToken);
        }

        _progress.Phase(step.Purpose);
        return _transfer.RunAsync(jobs, cancellationToken);
    }

    // The temporary bitmaps do not record, so their counts are those of the instant, whenever they are asked for.
    private async Task ReadCountsAsync(
        IMonitor monitor, HypervisorCapabilities capabilities, JobWatcher jobs, CancellationToken cancellationToken)
    {
        if (_disks.All(disk => disk.Plan.Temporary is null))
        {
            return;
        }

        // A push may have ended by now. Its job began with what its bitmap counted, and says so.
        if (capabilities.DiesOverEndedBackups && _plan.Mode == BackupMode.Push)
        {
            foreach (var disk in _disks.Where(disk => disk.Plan.Temporary is not null))
            {
                disk.DirtyBytes = await jobs.ReadTotalAsync(disk.Plan.JobId, cancellationToken).ConfigureAwait(false);
            }

            return;
        }

        var graph = await HypervisorReader.ReadGraphAsync(
            monitor, capabilities, cancellationToken, _disks.Select(disk => disk.Plan.JobId)).ConfigureAwait(false);
        foreach (var disk in _disks)
        {
            if (disk.Plan.Temporary is { } temporary)
            {
                disk.DirtyBytes = graph.Find(temporary.Node)?.FindBitmap(temporary.Name)?.Count
                    ?? throw new BackupException(
                        BackupErrorKind.Hypervisor,
                        $"the hypervisor does not show bitmap '{temporary.Name}' on node '{temporary.Node}' after it "
                            + "made it");
            }
        }
    }
}
