using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Journal;
using Tidemark.Backup.Planning;
using Tidemark.Qmp;

namespace Tidemark.Backup.Running;

/// <summary>
/// Cleans up after runs that died, by their journals: before a new run plans anything, so that neither their jobs'
/// filters nor their nodes stand in its way.
/// </summary>
internal sealed class RunRecovery
{
    private readonly StateDirectory _state;
    private readonly TimeProvider _time;

    internal RunRecovery(StateDirectory state, TimeProvider time)
    {
        _state = state;
        _time = time;
    }

    /// <summary>Cleans up after the dead runs at a source.</summary>
    /// <param name="own">The folder whose lock the caller holds.</param>
    /// <param name="source">The source.</param>
    /// <param name="monitor">Its monitor.</param>
    /// <param name="capabilities">What it can do.</param>
    /// <param name="note">Takes what was done.</param>
    /// <param name="cancellationToken">Cancels between two runs.</param>
    /// <exception cref="BackupException">Something could not be removed; the journal stays.</exception>
    internal async Task RecoverAsync(
        RunFolder own,
        string source,
        IMonitor monitor,
        HypervisorCapabilities capabilities,
        Action<string> note,
        CancellationToken cancellationToken)
    {
        foreach (var folder in _state.FoldersWithJournals())
        {
            cancellationToken.ThrowIfCancellationRequested();
            if (folder.Path == own.Path)
            {
                await RecoverAsync(folder, monitor, capabilities, note, cancellationToken).ConfigureAwait(false);
                continue;
            }

            // Another virtual machine's run here, or ours by another address: dead if nobody holds its lock.
            using var held = folder.TryLock();
            if (held is not null && await IsHereAsync(folder, source, monitor, capabilities, cancellationToken)
                .ConfigureAwait(false))
            {
                await RecoverAsync(folder, monitor, capabilities, note, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    // The same hypervisor may be named by another path or port than when the run began. The run's own names in its
    // graph prove that the run worked here: a run's id is drawn at random and used once.
    private static async Task<bool> IsHereAsync(
        RunFolder folder,
        string source,
        IMonitor monitor,
        HypervisorCapabilities capabilities,
        CancellationToken cancellationToken)
    {
        JournalRecord? record;
        try
        {
            record = folder.ReadJournal();
        }
        catch (BackupException)
        {
            // A damaged journal is reported to its own virtual machine's next run.
            return false;
        }

        if (record is null || record.Source == source)
        {
            return record is not null;
        }

        var jobs = await HypervisorReader.ReadJobsAsync(monitor, cancellationToken).ConfigureAwait(false);
        if (jobs.Any(job => RunNames.RunOfTemporary(job.Id) == record.RunId))
        {
            // Not asked for its nodes over a job that may end at any moment: QEMU 5.2 would die.
            return true;
        }

        var graph = await HypervisorReader.ReadGraphAsync(monitor, capabilities, cancellationToken)
            .ConfigureAwait(false);
        return graph.Nodes.Any(node => RunNames.RunOfTemporary(node.Name) == record.RunId
            || node.Bitmaps.Any(bitmap => RunNames.RunOfCheckpoint(bitmap.Name) == record.RunId
                || RunNames.RunOfTemporary(bitmap.Name) == record.RunId));
    }

    private async Task RecoverAsync(
        RunFolder folder,
        IMonitor monitor,
        HypervisorCapabilities capabilities,
        Action<string> note,
        CancellationToken cancellationToken)
    {
        if (folder.ReadJournal() is { } record)
        {
            var errors = await new UndoExecutor(monitor, _time).UndoLeftAsync(
                record.Undo,
                () => HypervisorReader.ReadGraphAsync(monitor, capabilities, cancellationToken),
                (action, graph) => IsToBeUndone(action, record, graph)).ConfigureAwait(false);
            if (errors.Count > 0)
            {
                throw new BackupException(
                    BackupErrorKind.Hypervisor,
                    $"run {record.RunId} of '{record.VmName}' did not end well, and what it left cannot all be "
                        + "removed: "
                    + $"{errors[0]}. Mend that, then run the backup again (journal: '{folder.JournalPath}')")
                {
                    UndoErrors = errors,
                };
            }

            note($"cleaned up after run {record.RunId} of '{record.VmName}', which did not end well");
        }

        File.Delete(folder.JournalPath);
    }

    private static bool IsToBeUndone(UndoAction action, JournalRecord record, GraphSnapshot graph) => action switch
    {
        // The restore point exists and relies on its checkpoint.
        UndoAction.CheckpointBitmap => record.Committed is null,

        // The hypervisor may have been started anew since, and may run somebody else's NBD server now. Ours stands only
        // where nodes of the run still stand. If the run never learned whether its start succeeded, a server that shows
        // others' exports may be theirs and is left alone.
        UndoAction.NbdServer => graph.Nodes.Any(node => RunNames.RunOfTemporary(node.Name) == record.RunId)
            && (record.ServerStarted || graph.Exports.All(export =>
                export.Type != "nbd" || RunNames.RunOfTemporary(export.Id) is not null)),
        _ => true,
    };
}
