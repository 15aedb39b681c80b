// Whether a domain's backup has ended, from what the hypervisor's jobs say. Pure.
//
// A push has ended well when every job has concluded without an error, and failed as soon as one has failed. A pull
// never ends by itself: its jobs only save what the guest overwrites, so one that has ended means that a frozen view is
// lost. A job that is not there was dismissed by somebody, or died with its hypervisor.

using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Journal;

namespace Tidemark.Backup.Domains;

/// <summary>Judges a domain's backup by its jobs.</summary>
internal static class JobJudge
{
    /// <summary>What a job that was cancelled has as its error.</summary>
    internal const string Cancelled = "Operation canceled";

    /// <summary>Whether a push that counts as failed may have written all: its jobs are gone with their results, and
    /// none that is left has failed.</summary>
    internal static bool MayHaveBeenCompleted(JournalJob job, IReadOnlyList<GraphJob> jobs) =>
        job.Mode == BackupMode.Push
        && job.Disks.Any(disk => jobs.All(one => one.Id != disk.JobId))
        && jobs.All(one => one.Error is null || job.Disks.All(disk => disk.JobId != one.Id));

    /// <summary>How it ended; null while it goes on.</summary>
    internal static (JobResult Result, string? Error)? Judge(JournalJob job, IReadOnlyList<GraphJob> jobs)
    {
        (JobResult Result, string? Error)? cancelled = null;
        var running = 0;
        foreach (var disk in job.Disks)
        {
            var found = jobs.FirstOrDefault(one => one.Id == disk.JobId);
            if (found is null)
            {
                return (JobResult.Failed,
                    $"job '{disk.JobId}' of disk '{disk.Name}' is gone: the hypervisor was restarted, or somebody "
                        + "dismissed the job");
            }

            if (!found.IsConcluded)
            {
                running++;
            }
            else if (found.Error is { } error && error != Cancelled)
            {
                return (JobResult.Failed, $"disk '{disk.Name}': {error}");
            }
            else if (found.Error is not null || job.Mode == BackupMode.Pull)
            {
                cancelled ??= job.Mode == BackupMode.Pull
                    ? (JobResult.Failed, $"disk '{disk.Name}': the job that kept the frozen view was ended by another")
                    : (JobResult.Cancelled, Cancelled);
            }
        }

        return cancelled ?? (running == 0 ? (JobResult.Completed, null) : null);
    }
}
