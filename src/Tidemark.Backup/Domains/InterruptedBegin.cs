// A backup has begun when its transaction has taken place: the disks are frozen, the jobs run, and the checkpoint's
// bitmaps record from that instant on. The command that began it may be killed between that and its last line in the
// journal. Nobody was told of a failure, and what runs is a good backup, so the next command goes on where the other
// one stopped: it publishes what is not published yet, gives the checkpoint's definition its name, and writes "begun".
//
// Whether the transaction has taken place is seen by its jobs. It is one step for all of them, and they stay in the
// list with their results when they have ended, so either all are there or it has not taken place; if only some are,
// somebody dismissed the others, and if none is, the hypervisor may also have been started anew. Then nothing can go
// on, and everything is taken back.
//
// A begin that has *failed* says so in the journal before it takes anything back, and reports it: it never goes on.

using Tidemark.Backup.Definitions;
using Tidemark.Backup.Journal;
using Tidemark.Backup.Planning;
using Tidemark.Backup.Running;
using Tidemark.Qmp;

namespace Tidemark.Backup.Domains;

/// <summary>Goes on with the begin of a backup whose command was killed; the domain's lock is held.</summary>
internal sealed class InterruptedBegin
{
    private readonly DomainSession _session;

    internal InterruptedBegin(DomainSession session) => _session = session;

    /// <summary>Goes on, if there is such a begin and it can.</summary>
    /// <param name="record">The domain's journal; null when there is none.</param>
    /// <param name="cancellationToken">Gives up; the next command tries again.</param>
    /// <returns>The journal as it is then.</returns>
    internal async Task<JournalRecord?> GoOnAsync(JournalRecord? record, CancellationToken cancellationToken)
    {
        if (record is not { Begun: null, HasFailed: false, Freezing: { } instant, Job: { } job })
        {
            return record;
        }

        var jobs = await HypervisorReader.ReadJobsAsync(_session.Monitor, cancellationToken).ConfigureAwait(false);
        if (!job.Disks.All(disk => jobs.Any(one => one.Id == disk.JobId)))
        {
            return record;
        }

        using var journal = RunJournal.Continue(_session.Folder.Run.JournalPath);
        try
        {
            await PublishAsync(record, job, journal, cancellationToken).ConfigureAwait(false);
            if (job.Checkpoint is { } checkpoint)
            {
                _session.Checkpoints.CommitPrepared(checkpoint);
            }
        }
        catch (Exception exception) when (exception is BackupException
            or QmpException { ErrorClass: not QmpException.MonitorClosed })
        {
            journal.Failed();
            _session.Options.Note(
                $"run {record.RunId} was killed while it began, and cannot go on: {exception.Message}");
            return _session.Folder.Run.ReadJournal();
        }

        journal.Begun(instant);
        _session.Options.Note(
            $"run {record.RunId} was killed right after its backup had begun; the backup goes on. End it with "
                + "domjobabort if it is not wanted");
        return _session.Folder.Run.ReadJournal();
    }

    // The exports that are not there yet. One that was sent and not answered may be.
    private async Task PublishAsync(
        JournalRecord record, JournalJob job, RunJournal journal, CancellationToken cancellationToken)
    {
        if (job.Disks.All(disk => disk.Export is null))
        {
            return;
        }

        var exports = await HypervisorReader.ReadExportsAsync(_session.Monitor, cancellationToken)
            .ConfigureAwait(false);
        foreach (var disk in job.Disks)
        {
            if (disk.Export is not { } export || exports.Any(one => one.Id == export.Id))
            {
                continue;
            }

            var step = StepParts.Export(disk.Name, disk.TargetNode, export.Id, export.Name, export.Bitmap);
            if (!step.Undo.All(record.Undo.Contains))
            {
                journal.WillDo(step.Undo);
            }

            await _session.Monitor.ExecuteAsync(step.Qmp, cancellationToken).ConfigureAwait(false);
        }
    }
}
