// Finishes what earlier commands left: there is no daemon of ours, so every command that takes a domain's lock does
// this first.
//
//   work                        its command died: take back everything
//   journal without "begun"     its command died, or failed and could not take everything back: take back everything,
//                               unless it died when the transaction had taken place: see InterruptedBegin
//   "begun", jobs running       nothing to do: the backup goes on. But a pull whose scratch has hardly any room left
//                               is ended before a guest's write fails
//   "begun", jobs ended         decide how it ended, say so in the journal, then take back what was temporary
//   "ended"                     a command died while it took things back: go on with that
//
// How it ended is durable before the first thing is taken away: whoever goes on later comes to the same result,
// although the jobs that told of it are not there any more. Taking back is idempotent.

using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Journal;
using Tidemark.Backup.Planning;
using Tidemark.Backup.Rules;
using Tidemark.Backup.Running;

namespace Tidemark.Backup.Domains;

/// <summary>Finishes backups of a domain; the caller holds its lock.</summary>
internal sealed class JobSettler
{
    /// <summary>What a target's name ends with when nobody can tell whether it is whole.</summary>
    internal const string UnverifiedSuffix = ".unverified";

    private readonly DomainSession _session;

    internal JobSettler(DomainSession session) => _session = session;

    private DomainFolder Folder => _session.Folder;

    private TimeProvider Time => _session.Options.Time;

    /// <summary>Does what is to be done, if anything is.</summary>
    /// <exception cref="BackupException">Something could not be taken back; the journal stays.</exception>
    internal async Task SettleAsync(CancellationToken cancellationToken)
    {
        await JobHold.ResumeLeftAsync(_session).ConfigureAwait(false);
        await UndoDeadAsync(Folder.WorkPath, cancellationToken).ConfigureAwait(false);
        await SettleBackupAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Does what is to be done about the backup alone.</summary>
    /// <exception cref="BackupException">Something could not be taken back; the journal stays.</exception>
    internal async Task SettleBackupAsync(CancellationToken cancellationToken)
    {
        var interrupted = new InterruptedBegin(_session);
        if (await interrupted.GoOnAsync(Folder.Run.ReadJournal(), cancellationToken).ConfigureAwait(false)
            is not { Begun: not null, Job: not null } record)
        {
            await UndoDeadAsync(Folder.Run.JournalPath, cancellationToken).ConfigureAwait(false);
            return;
        }

        if (record.Ended is { } end)
        {
            await EndAsync(record, end.Result, end.Error, cancellationToken).ConfigureAwait(false);
            return;
        }

        var jobs = await HypervisorReader.ReadJobsAsync(_session.Monitor, cancellationToken).ConfigureAwait(false);
        if (JobJudge.Judge(record.Job, jobs) is { } verdict)
        {
            await EndAsync(record, verdict.Result, verdict.Error, cancellationToken).ConfigureAwait(false);
        }
        else if (ScratchGuard.Of(record.Job, _session.Capabilities.BreaksSnapshot, Time)?.Look() is { } low)
        {
            await EndAsync(record, JobResult.Failed, low.Message, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Ends a backup: everything temporary is gone when it returns.</summary>
    /// <param name="record">Its journal.</param>
    /// <param name="result">How it ended; what an earlier command decided stands.</param>
    /// <param name="error">The first error.</param>
    /// <param name="cancellationToken">Gives up before anything is taken back.</param>
    /// <exception cref="BackupException">Something could not be taken back; the journal stays.</exception>
    internal async Task<DomainJobInfo> EndAsync(
        JournalRecord record, JobResult result, string? error, CancellationToken cancellationToken)
    {
        var job = record.Job!;
        using var journal = RunJournal.Continue(Folder.Run.JournalPath);
        DomainJobInfo info;
        var end = record.Ended;
        if (end is null)
        {
            var jobs = await HypervisorReader.ReadJobsAsync(_session.Monitor, cancellationToken)
                .ConfigureAwait(false);
            end = new JobEnd(
                result,
                error,
                Time.GetUtcNow(),
                result == JobResult.Completed || job.KeepsCheckpoint,
                result == JobResult.Failed && JobJudge.MayHaveBeenCompleted(job, jobs));
            info = JobInfoReader.Close(JobInfoReader.Make(record, jobs, end.At, null), end);
            DurableFile.Write(Folder.CompletedPath, JobInfoFormat.ToBytes(info));
            journal.Ended(end);
        }
        else
        {
            info = DomainSession.ReadCompleted(Folder) is { } kept && kept.RunId == record.RunId
                ? kept
                : JobInfoReader.Close(JobInfoReader.Make(record, [], end.At, null), end);
        }

        if (!end.KeepsCheckpoint && job.Checkpoint is { } checkpoint)
        {
            // By the store, not only as a file: a checkpoint made meanwhile follows this one's parent then.
            _session.Checkpoints.Delete(checkpoint);
        }

        var executor = new UndoExecutor(_session.Monitor, Time);
        List<string> errors =
        [
            .. await UndoLeftAsync(executor, record, end, CancellationToken.None).ConfigureAwait(false),
        ];
        if (!end.KeepsCheckpoint && job.Checkpoint is not null)
        {
            errors.AddRange(await RemoveCheckpointAsync(job, executor).ConfigureAwait(false));
        }

        if (end.KeepsTargets)
        {
            errors.AddRange(PutAside(record));
        }

        if (errors.Count > 0)
        {
            throw NotTakenBack(record, errors, Folder.Run.JournalPath);
        }

        journal.Delete();
        return info;
    }

    private async Task UndoDeadAsync(string path, CancellationToken cancellationToken)
    {
        if (RunFolder.ReadJournal(path) is not { } record)
        {
            // No file; or not even its first line was whole: its command died before it did anything.
            File.Delete(path);
            return;
        }

        var errors = await UndoLeftAsync(
            new UndoExecutor(_session.Monitor, Time), record, null, cancellationToken).ConfigureAwait(false);
        if (errors.Count > 0)
        {
            throw NotTakenBack(record, errors, path);
        }

        File.Delete(path);
        _session.Options.Note($"cleaned up after run {record.RunId}, which was killed or failed before its end");
    }

    private Task<IReadOnlyList<string>> UndoLeftAsync(
        UndoExecutor executor, JournalRecord record, JobEnd? end, CancellationToken cancellationToken) =>
        executor.UndoLeftAsync(
            record.Undo,
            () => _session.ReadGraphAsync(cancellationToken),
            (action, graph) => IsToBeUndone(action, record, end, graph));

    // The hypervisor went away with the jobs' results. A target that may be whole is nobody's to delete, and one that
    // may be torn must not be taken for a backup: it gets another name.
    private List<string> PutAside(JournalRecord record)
    {
        List<string> errors = [];
        foreach (var target in record.Undo.OfType<UndoAction.TargetFile>()
            .Where(target => FileRemoval.IsOurs(target.Path, target.Identity)))
        {
            // An older one that was put aside may be whole as well.
            var aside = target.Path + UnverifiedSuffix;
            for (var number = 2; File.Exists(aside); number++)
            {
                aside = $"{target.Path}{UnverifiedSuffix}.{number}";
            }

            try
            {
                File.Move(target.Path, aside);
                _session.Options.Note(
                    $"whether the push had ended cannot be told any more; its target is '{aside}' now. Compare it "
                        + "before you rely on it, or delete it");
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                errors.Add($"'{target.Path}' could not be renamed: {exception.Message}");
            }
        }

        return errors;
    }

    // The hypervisor may have been started anew since, and show the disk under another node's name: the checkpoint's
    // bitmaps are looked for on every layer of the backup's disks.
    private async Task<IReadOnlyList<string>> RemoveCheckpointAsync(JournalJob job, UndoExecutor executor)
    {
        var graph = await _session.ReadGraphAsync(CancellationToken.None).ConfigureAwait(false);
        List<UndoAction> left = [];
        foreach (var disk in _session.FindDisks(graph).Where(disk => job.Disks.Any(one => one.Name == disk.Name)))
        {
            var chain = graph.ChainOf(disk.Node);
            left.AddRange(BitmapChain.Delete(chain, job.Checkpoint!)
                .Where(bitmap => chain.Layers.Any(layer => layer.Name == bitmap.Node && !layer.IsReadOnly))
                .Select(bitmap => new UndoAction.CheckpointBitmap(bitmap.Node, bitmap.Name)));
        }

        return await executor.UndoAllAsync(left).ConfigureAwait(false);
    }

    private static bool IsToBeUndone(UndoAction action, JournalRecord record, JobEnd? end, GraphSnapshot graph) =>
        action switch
        {
            // A change that took place keeps what it made: see ChangeService.
            UndoAction.CheckpointBitmap or UndoAction.CheckpointFile =>
                record.Committed is null && end is not { KeepsCheckpoint: true },
            UndoAction.TargetFile => record.Committed is null
                && end is not ({ Result: JobResult.Completed } or { KeepsTargets: true }),

            // The hypervisor may have been started anew since, and may run somebody else's NBD server now. Ours stands
            // only where nodes of the backup still stand. If the run never learned whether its start succeeded, a
            // server that shows others' exports may be theirs and is left alone.
            UndoAction.NbdServer => IsHere(record, graph)
                && (record.ServerStarted
                    || graph.Exports.All(export => export.Type != "nbd" || IsOurs(export, record))),
            _ => true,
        };

    private static bool IsHere(JournalRecord record, GraphSnapshot graph) =>
        record.Undo.OfType<UndoAction.Node>().Any(node => graph.Find(node.Name) is not null);

    private static bool IsOurs(GraphExport export, JournalRecord record) =>
        record.Undo.OfType<UndoAction.Export>().Any(own => own.Id == export.Id);

    private static BackupException NotTakenBack(JournalRecord record, IReadOnlyList<string> errors, string path) => new(
        BackupErrorKind.Hypervisor,
        $"what run {record.RunId} left cannot all be removed: {errors[0]}. Mend that, then give the command again "
            + $"(journal: '{path}')")
    {
        UndoErrors = errors,
    };
}
