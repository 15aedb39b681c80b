// Follows a backup that goes on at the hypervisor, without holding anything between two looks: a monitor serves one
// client at a time, and other commands may want to look at the backup, or to end it, meanwhile. So it asks again and
// again and does not rely on events. When the jobs have ended, whoever sees it first takes the lock and finishes the
// backup; the others find the result.
//
// While it follows a pull it also watches what nobody else does: the free space of the scratch's file system, where the
// hypervisor cannot be told to give up the backup rather than a guest's write; and the clients, if it was told how long
// they may be gone.

using Tidemark.Backup.Definitions;
using Tidemark.Backup.Journal;
using Tidemark.Backup.Running;
using Tidemark.Qmp;

namespace Tidemark.Backup.Domains;

/// <summary>Waits for the end of a domain's backup.</summary>
internal sealed class JobFollower
{
    private readonly DomainServiceOptions _options;
    private readonly HypervisorSource _source;
    private readonly DomainFolder _folder;
    private readonly ClientWatch _clients;
    private readonly Action<DomainJobInfo> _report;

    internal JobFollower(
        DomainServiceOptions options,
        HypervisorSource source,
        TimeSpan? clientTimeout,
        Action<DomainJobInfo> report)
    {
        _options = options;
        _source = source;
        _folder = DomainSession.FolderOf(options, source);
        _clients = new ClientWatch(clientTimeout, options.Time);
        _report = report;
    }

    /// <summary>Follows a backup to its end.</summary>
    /// <param name="runId">The backup's run.</param>
    /// <param name="cancellationToken">Ends the following; the backup goes on.</param>
    /// <returns>How it ended.</returns>
    /// <exception cref="BackupException">The hypervisor cannot be reached, or something could not be taken
    /// back.</exception>
    internal async Task<DomainJobInfo> FollowAsync(string runId, CancellationToken cancellationToken)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task<BackupException?>? guarding = null;
        try
        {
            while (true)
            {
                var (ended, job, breaksSnapshot) = await LookAsync(runId, cancellationToken).ConfigureAwait(false);
                if (ended is not null)
                {
                    return ended;
                }

                guarding ??= GuardAsync(job!, breaksSnapshot, stop.Token);
                var pause = Task.Delay(BackupLimits.JobPollInterval, _options.Time, cancellationToken);
                await Task.WhenAny(pause, guarding.IsCompleted ? pause : guarding).ConfigureAwait(false);
                cancellationToken.ThrowIfCancellationRequested();
                var guard = guarding.IsCompleted ? await guarding.ConfigureAwait(false) : null;
                var count = job!.Nbd is { } nbd ? NbdClients.Count(nbd) : null;
                if ((guard?.Message ?? _clients.Look(count)) is { } reason)
                {
                    return await EndAsync(runId, JobResult.Failed, reason, cancellationToken).ConfigureAwait(false);
                }

                await pause.ConfigureAwait(false);
            }
        }
        finally
        {
            await stop.CancelAsync().ConfigureAwait(false);
            if (guarding is not null)
            {
                await ((Task)guarding).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    // One look: how it ended, or what runs.
    private async Task<(DomainJobInfo? Ended, JournalJob? Job, bool BreaksSnapshot)> LookAsync(
        string runId, CancellationToken cancellationToken)
    {
        var session = await OpenAsync(cancellationToken).ConfigureAwait(false);
        await using var _ = session.ConfigureAwait(false);
        if (session.ReadRunningJob() is { } record && record.RunId == runId)
        {
            var jobs = await HypervisorReader.ReadJobsAsync(session.Monitor, cancellationToken).ConfigureAwait(false);
            var count = record.Job!.Nbd is { } nbd ? NbdClients.Count(nbd) : null;

            // What is told as seen counts as seen, also if the client is gone at the next look.
            _clients.Look(count);
            _report(JobInfoReader.Make(record, jobs, _options.Time.GetUtcNow(), count));
            return (null, record.Job, session.Capabilities.BreaksSnapshot);
        }

        return (Completed(runId), null, false);
    }

    private DomainJobInfo Completed(string runId) =>
        DomainSession.ReadCompleted(_folder) is { } completed && completed.RunId == runId
            ? completed
            : throw new BackupException(
                BackupErrorKind.State, $"the result of run {runId} is gone: another backup has ended since");

    // Opening a session finishes what has ended. A monitor serves one client at a time: another command may have it for
    // a while, so what fails is tried again for some time.
    private async Task<DomainSession> OpenAsync(CancellationToken cancellationToken)
    {
        var start = _options.Time.GetTimestamp();
        while (true)
        {
            try
            {
                return await DomainSession.OpenAsync(_options, _source, onlyLooks: false, cancellationToken)
                    .ConfigureAwait(false);
            }
            catch (BackupException exception) when (exception.InnerException is QmpException)
            {
                if (_options.Time.GetElapsedTime(start) > BackupLimits.MonitorPatience)
                {
                    throw new BackupException(
                        BackupErrorKind.Hypervisor,
                        $"{exception.Message}. The backup ended with its hypervisor, or goes on there; the next "
                            + "command on this domain finds out, and takes back what is left",
                        exception);
                }
            }

            await Task.Delay(BackupLimits.JobPollInterval, _options.Time, cancellationToken).ConfigureAwait(false);
        }
    }

    private async Task<DomainJobInfo> EndAsync(
        string runId, JobResult result, string reason, CancellationToken cancellationToken)
    {
        var session = await OpenAsync(cancellationToken).ConfigureAwait(false);
        await using var _ = session.ConfigureAwait(false);
        return session.ReadRunningJob() is { } record && record.RunId == runId
            ? await new JobSettler(session).EndAsync(record, result, reason, cancellationToken).ConfigureAwait(false)
            : Completed(runId);
    }

    // Null while there is nothing to guard against.
    private async Task<BackupException?> GuardAsync(
        JournalJob job, bool breaksSnapshot, CancellationToken cancellationToken) =>
        ScratchGuard.Of(job, breaksSnapshot, _options.Time) is { } guard
            ? await guard.WatchAsync(cancellationToken).ConfigureAwait(false)
            : null;
}
