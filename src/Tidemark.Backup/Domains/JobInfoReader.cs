using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Journal;

namespace Tidemark.Backup.Domains;

/// <summary>Makes a job's information from its journal and the hypervisor's jobs. Pure.</summary>
internal static class JobInfoReader
{
    /// <summary>Makes it.</summary>
    /// <param name="record">The journal; it has a job that has begun.</param>
    /// <param name="jobs">The hypervisor's jobs.</param>
    /// <param name="now">The time.</param>
    /// <param name="clients">The clients of a pull, if they can be seen.</param>
    internal static DomainJobInfo Make(
        JournalRecord record, IReadOnlyList<GraphJob> jobs, DateTimeOffset now, int? clients)
    {
        var job = record.Job!;
        var begun = record.Begun!.Value;
        List<JobInfoDisk> disks = [];
        foreach (var disk in job.Disks)
        {
            var found = jobs.FirstOrDefault(one => one.Id == disk.JobId);

            // The jobs of a pull have no total of their own: what can be saved at most is the disk.
            var done = found?.CurrentProgress ?? 0;
            var total = job.Mode == BackupMode.Pull ? disk.Size : found?.TotalProgress ?? disk.Size;
            disks.Add(new JobInfoDisk(
                disk.Name,
                found is null ? "gone" : StateOf(found),
                disk.IsIncremental,
                disk.Reason,
                Math.Max(total, done),
                done,
                disk.Source,
                found?.Error));
        }

        return new DomainJobInfo
        {
            RunId = record.RunId,
            Mode = job.Mode,
            Begun = begun,
            Elapsed = now > begun ? now - begun : TimeSpan.Zero,
            TotalBytes = disks.Sum(disk => disk.Total),
            DoneBytes = disks.Sum(disk => disk.Done),
            Clients = clients,
            Checkpoint = job.Checkpoint,
            Disks = disks,
        };
    }

    /// <summary>The same after the end.</summary>
    internal static DomainJobInfo Close(DomainJobInfo info, JobEnd end) => info with
    {
        Result = end.Result,
        Error = end.Error,
        Clients = null,
        Checkpoint = end.KeepsCheckpoint ? info.Checkpoint : null,
        Elapsed = end.At > info.Begun ? end.At - info.Begun : TimeSpan.Zero,
        Disks = [.. info.Disks.Select(disk => disk with { State = StateAfter(disk, end) })],
    };

    private static string StateOf(GraphJob job) =>
        !job.IsConcluded ? job.Status : job.Error is null ? "completed" : Ended(job.Error);

    private static string Ended(string error) => error == JobJudge.Cancelled ? "canceled" : "failed";

    private static string StateAfter(JobInfoDisk disk, JobEnd end) =>
        disk.State is "completed" or "failed" or "canceled" ? disk.State
        : disk.State == "gone" ? "failed" : end.Result == JobResult.Completed ? "completed" : "canceled";
}
