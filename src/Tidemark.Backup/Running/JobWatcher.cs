using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Qmp;

namespace Tidemark.Backup.Running;

/// <summary>
/// Follows jobs by their events and by asking: an event wakes it early, and a lost event costs one poll interval.
/// </summary>
/// <remarks>Made before the jobs are, so that no event is missed. Jobs are never dismissed by themselves, so an ended
/// job stays in the list with its result.</remarks>
internal sealed class JobWatcher : IDisposable
{
    private readonly IMonitor _monitor;
    private readonly TimeProvider _time;
    private readonly QmpEventSubscription _subscription;

    internal JobWatcher(IMonitor monitor, TimeProvider time)
    {
        _monitor = monitor;
        _time = time;
        _subscription = monitor.Subscribe();
    }

    /// <summary>Waits until a job has ended.</summary>
    /// <returns>The ended job, with its error if it failed; null if there is no such job.</returns>
    internal async Task<GraphJob?> WaitForEndAsync(string jobId, CancellationToken cancellationToken)
    {
        while (true)
        {
            var jobs = await HypervisorReader.ReadJobsAsync(_monitor, cancellationToken).ConfigureAwait(false);
            if (Find(jobs, jobId) is not { IsConcluded: false } job)
            {
                return Find(jobs, jobId);
            }

            await WaitForChangeAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Waits until a job has reached a state.</summary>
    /// <param name="jobId">The job.</param>
    /// <param name="status">The state's name, for example <c>ready</c>.</param>
    /// <param name="report">Told how far it is.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="BackupException">It ended before, or vanished.</exception>
    internal async Task WaitForStatusAsync(
        string jobId, string status, Action<GraphJob> report, CancellationToken cancellationToken)
    {
        while (true)
        {
            var jobs = await HypervisorReader.ReadJobsAsync(_monitor, cancellationToken).ConfigureAwait(false);
            var job = Find(jobs, jobId) ?? throw Vanished(jobId);
            report(job);
            if (job.Status == status)
            {
                return;
            }

            if (job.IsConcluded)
            {
                throw new BackupException(
                    BackupErrorKind.Hypervisor,
                    $"the hypervisor's job '{jobId}' ended too early: {job.Error ?? "without an error"}");
            }

            await WaitForChangeAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Push: waits until all jobs have ended well.</summary>
    /// <exception cref="BackupException">One failed, was cancelled, or vanished.</exception>
    internal async Task WaitForSuccessAsync(IReadOnlyList<string> jobIds, CancellationToken cancellationToken)
    {
        while (true)
        {
            var jobs = await HypervisorReader.ReadJobsAsync(_monitor, cancellationToken).ConfigureAwait(false);
            var ended = 0;
            foreach (var id in jobIds)
            {
                var job = Find(jobs, id) ?? throw Vanished(id);
                if (job.IsConcluded)
                {
                    ended++;
                    if (job.Error is not null)
                    {
                        throw new BackupException(BackupErrorKind.Transfer,
                            $"the hypervisor's job '{id}' failed: {job.Error}");
                    }
                }
            }

            if (ended == jobIds.Count)
            {
                return;
            }

            await WaitForChangeAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>How much a job has to do in all, in its own unit; it has begun to do it, or ended.</summary>
    /// <exception cref="BackupException">It vanished.</exception>
    internal async Task<long> ReadTotalAsync(string jobId, CancellationToken cancellationToken)
    {
        while (true)
        {
            var jobs = await HypervisorReader.ReadJobsAsync(_monitor, cancellationToken).ConfigureAwait(false);
            var job = Find(jobs, jobId) ?? throw Vanished(jobId);
            if (job.TotalProgress > 0 || job.IsConcluded)
            {
                return job.TotalProgress;
            }

            await WaitForChangeAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Pull: fails as soon as one of the jobs has ended, because the frozen view ends with it.</summary>
    /// <exception cref="BackupException">One ended or vanished.</exception>
    internal async Task FailWhenOneEndsAsync(IReadOnlyList<string> jobIds, CancellationToken cancellationToken)
    {
        while (true)
        {
            await CheckAllRunAsync(jobIds, cancellationToken).ConfigureAwait(false);
            await WaitForChangeAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Pull: checks that the frozen views still stand.</summary>
    /// <exception cref="BackupException">A job ended or vanished.</exception>
    internal async Task CheckAllRunAsync(IReadOnlyList<string> jobIds, CancellationToken cancellationToken)
    {
        var jobs = await HypervisorReader.ReadJobsAsync(_monitor, cancellationToken).ConfigureAwait(false);
        foreach (var id in jobIds)
        {
            var job = Find(jobs, id) ?? throw Vanished(id);
            if (job.IsConcluded || job.Status is "aborting" or "waiting" or "pending")
            {
                throw new BackupException(
                    BackupErrorKind.Transfer,
                    $"the hypervisor's job '{id}' ended before everything was read ({job.Error ?? job.Status}): "
                    + "the frozen view is gone. Run the backup again");
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _subscription.Dispose();

    private static GraphJob? Find(IReadOnlyList<GraphJob> jobs, string id) => jobs.FirstOrDefault(job => job.Id == id);

    private static BackupException Vanished(string id) => new(
        BackupErrorKind.Transfer, $"the hypervisor's job '{id}' vanished: somebody dismissed it, or the hypervisor "
            + "restarted");

    /// <summary>Waits until a job's event comes, or the poll interval has passed. A closed monitor shows at the next
    /// question.</summary>
    /// <param name="cancellationToken">Gives up.</param>
    internal async Task WaitForChangeAsync(CancellationToken cancellationToken)
    {
        using var pause = new CancellationTokenSource(BackupLimits.JobPollInterval, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(pause.Token, cancellationToken);
        try
        {
            while (await _subscription.Events.WaitToReadAsync(either.Token).ConfigureAwait(false))
            {
                var woken = false;
                while (_subscription.Events.TryRead(out var one))
                {
                    woken |= one.Name is "JOB_STATUS_CHANGE" or "BLOCK_JOB_COMPLETED" or "BLOCK_JOB_CANCELLED"
                        or "BLOCK_JOB_ERROR" or "BLOCK_JOB_PENDING";
                }

                if (woken)
                {
                    return;
                }
            }
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            // The interval has passed.
        }
    }
}
