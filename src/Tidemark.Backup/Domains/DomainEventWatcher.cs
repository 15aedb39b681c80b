using Tidemark.Backup.Definitions;
using Tidemark.Backup.Journal;
using Tidemark.Backup.Running;

namespace Tidemark.Backup.Domains;

/// <summary>
/// Turns what happens to a domain's backups into libvirt's events. Each backup's end is seen once: by following it, or,
/// if another command was faster, by the result that it left.
/// </summary>
internal sealed class DomainEventWatcher
{
    private readonly DomainServiceOptions _options;
    private readonly HypervisorSource _source;
    private readonly DomainFolder _folder;

    private readonly TimeSpan? _clientTimeout;

    internal DomainEventWatcher(DomainServiceOptions options, HypervisorSource source, TimeSpan? clientTimeout)
    {
        _clientTimeout = clientTimeout;
        _options = options;
        _source = source;
        _folder = DomainSession.FolderOf(options, source);
    }

    /// <summary>Watches until it is told to end.</summary>
    internal async Task WatchAsync(Func<DomainEvent, bool> isToGoOn, CancellationToken cancellationToken)
    {
        // Results that lay there before are no events.
        var seen = DomainSession.ReadCompleted(_folder)?.RunId;
        if (DomainSession.ReadRunningJob(_folder) is null && _folder.Run.ReadJournal() is not null)
        {
            seen = null;
        }

        while (true)
        {
            DomainJobInfo? ended = null;
            if (DomainSession.ReadRunningJob(_folder) is { } record)
            {
                ended = await new JobFollower(_options, _source, _clientTimeout, static _ => { })
                    .FollowAsync(record.RunId, cancellationToken).ConfigureAwait(false);
            }
            else if (DomainSession.ReadCompleted(_folder) is { } completed && completed.RunId != seen)
            {
                ended = completed;
            }

            if (ended is null)
            {
                await Task.Delay(BackupLimits.JobPollInterval, _options.Time, cancellationToken)
                    .ConfigureAwait(false);
                continue;
            }

            seen = ended.RunId;
            foreach (var one in EventsOf(ended, _options.Time.GetUtcNow()))
            {
                if (!isToGoOn(one))
                {
                    return;
                }
            }
        }
    }

    private static IEnumerable<DomainEvent> EventsOf(DomainJobInfo job, DateTimeOffset now)
    {
        foreach (var disk in job.Disks)
        {
            yield return new DomainEvent("block-job", now, $"Backup for {disk.Source} {disk.State}", job);
            yield return new DomainEvent("block-job-2", now, $"Backup for {disk.Name} {disk.State}", job);
        }

        var isPush = job.Mode == BackupMode.Push;
        List<string> lines =
        [
            "operation: 9",
            $"time_elapsed: {(long)job.Elapsed.TotalMilliseconds}",
            .. isPush
                ? (string[])
                [
                    $"disk_total: {job.TotalBytes}",
                    $"disk_processed: {job.DoneBytes}",
                    $"disk_remaining: {job.TotalBytes - job.DoneBytes}",
                ]
                : [$"disk_temp_used: {job.DoneBytes}", $"disk_temp_total: {job.TotalBytes}"],
            $"success: {(job.Result == JobResult.Completed ? 1 : 0)}",
        ];
        if (job.Error is { } error)
        {
            lines.Add($"errmsg: {error}");
        }

        yield return new DomainEvent("job-completed", now, string.Join('\n', lines), job);
    }
}
