// QEMU 5.2 dies, and the guest with it, when it is asked for its nodes while a backup job that has ended is still in
// its list of jobs (HypervisorCapabilities.DiesOverEndedBackups). Jobs are asked for first, but a push may end between
// the two questions. So the jobs of the domain's own push are paused for the moment of the question: a job that is seen
// as paused stands still, and nothing but a resume or a cancel makes it end. A pull needs none of that: its jobs copy
// nothing by themselves, and never end by themselves.
//
// A command that is killed meanwhile must not leave a backup that stands still for ever: the jobs' ids are written down
// before they are paused, and the next command that takes the domain's lock resumes them.

using System.Text;
using System.Text.Json.Nodes;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Journal;
using Tidemark.Backup.Running;
using Tidemark.Qmp;

namespace Tidemark.Backup.Domains;

/// <summary>The jobs of a domain's push, standing still; the domain's lock is held. Disposing it resumes
/// them.</summary>
internal sealed class JobHold : IAsyncDisposable
{
    private readonly DomainSession _session;
    private readonly IReadOnlyList<string> _ids;

    private JobHold(DomainSession session, IReadOnlyList<string> ids)
    {
        _session = session;
        _ids = ids;
    }

    /// <summary>Pauses the jobs of a push that still run, and waits until they stand still.</summary>
    /// <returns>Null when one has ended.</returns>
    /// <exception cref="BackupException">One does not come to a stop: its target may hang.</exception>
    internal static async Task<JobHold?> TakeAsync(
        DomainSession session, JournalJob job, CancellationToken cancellationToken)
    {
        var own = await ReadAsync(session, job, cancellationToken).ConfigureAwait(false);
        if (HasEnded(job, own))
        {
            return null;
        }

        string[] ids = [.. own.Where(one => !one.IsStill).Select(one => one.Id)];
        if (ids.Length > 0)
        {
            DurableFile.Write(session.Folder.HeldPath, Encoding.UTF8.GetBytes(string.Join('\n', ids)));
        }

        var hold = new JobHold(session, ids);
        try
        {
            foreach (var id in ids)
            {
                await TryAsync(session, "job-pause", id, cancellationToken).ConfigureAwait(false);
            }

            if (await StandStillAsync(session, job, cancellationToken).ConfigureAwait(false))
            {
                return hold;
            }
        }
        catch
        {
            await hold.DisposeAsync().ConfigureAwait(false);
            throw;
        }

        await hold.DisposeAsync().ConfigureAwait(false);
        return null;
    }

    /// <summary>Resumes what a killed command left standing still.</summary>
    internal static async Task ResumeLeftAsync(DomainSession session)
    {
        if (DurableFile.Read(session.Folder.HeldPath) is { } bytes)
        {
            await new JobHold(session, Encoding.UTF8.GetString(bytes).Split('\n')).DisposeAsync()
                .ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        foreach (var id in _ids)
        {
            await TryAsync(_session, "job-resume", id, CancellationToken.None).ConfigureAwait(false);
        }

        File.Delete(_session.Folder.HeldPath);
    }

    private static async Task<bool> StandStillAsync(
        DomainSession session, JournalJob job, CancellationToken cancellationToken)
    {
        var time = session.Options.Time;
        var start = time.GetTimestamp();
        while (true)
        {
            var own = await ReadAsync(session, job, cancellationToken).ConfigureAwait(false);
            if (HasEnded(job, own))
            {
                return false;
            }

            if (own.TrueForAll(one => one.IsStill))
            {
                return true;
            }

            if (time.GetElapsedTime(start) > BackupLimits.UndoCommandTimeout)
            {
                throw new BackupException(
                    BackupErrorKind.Hypervisor,
                    $"job '{own.First(one => !one.IsStill).Id}' did not pause in {BackupLimits.UndoCommandTimeout}, "
                        + "and this version of QEMU dies if it is asked for its nodes while such a job ends. Wait for "
                        + "the backup's end, or end it with domjobabort");
            }

            await Task.Delay(BackupLimits.LockPollInterval, time, cancellationToken).ConfigureAwait(false);
        }
    }

    private static async Task<List<GraphJob>> ReadAsync(
        DomainSession session, JournalJob job, CancellationToken cancellationToken)
    {
        var jobs = await HypervisorReader.ReadJobsAsync(session.Monitor, cancellationToken).ConfigureAwait(false);
        return [.. jobs.Where(one => job.Disks.Any(disk => disk.JobId == one.Id))];
    }

    private static bool HasEnded(JournalJob job, List<GraphJob> own) =>
        own.Count < job.Disks.Count || own.Exists(one => one.IsConcluded);

    // Refused because the job has ended meanwhile: the next look at the jobs tells.
    private static async Task TryAsync(
        DomainSession session, string command, string id, CancellationToken cancellationToken)
    {
        try
        {
            await session.Monitor.ExecuteAsync(
                new QmpCommand(command, new JsonObject { ["id"] = id }), cancellationToken).ConfigureAwait(false);
        }
        catch (QmpException exception) when (exception.ErrorClass != QmpException.MonitorClosed)
        {
        }
    }
}
