using Tidemark.Backup.Definitions;
using Tidemark.Backup.Journal;
using Tidemark.Backup.Running;
using Tidemark.Qmp;

namespace Tidemark.Backup.Domains;

/// <summary>
/// Work on a domain that ends with its command: every effect is journalled before it, and all are taken back when one
/// fails. A killed command's journal is found by the next one.
/// </summary>
internal static class JournaledWork
{
    /// <summary>Does the work.</summary>
    /// <param name="session">The domain; its lock is held.</param>
    /// <param name="runId">The work's id.</param>
    /// <param name="work">Does it, by steps.</param>
    /// <exception cref="BackupException">It failed; what could not be taken back is in
    /// <see cref="BackupException.UndoErrors"/>, and the next command tries again.</exception>
    internal static async Task RunAsync(
        DomainSession session, string runId, Func<StepExecutor, RunJournal, JobWatcher, Task> work)
    {
        using var journal = RunJournal.Create(
            session.Folder.WorkPath, runId, session.DomainName, session.SourceName);
        var steps = new StepExecutor(journal, session.Options.Time);
        using var jobs = new JobWatcher(session.Monitor, session.Options.Time);
        try
        {
            await work(steps, journal, jobs).ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            await TakeBackAsync(session, steps, journal, exception).ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Takes everything back; the error that made it necessary stays the first one.</summary>
    internal static async Task TakeBackAsync(
        DomainSession session, StepExecutor steps, RunJournal journal, Exception cause)
    {
        // What stands at a hypervisor that cannot be reached is the next command's matter: the journal stays.
        var isReachable = !session.Monitor.Closed.IsCompleted;
        var errors = await steps.UndoAllAsync(isReachable ? session.Monitor : null).ConfigureAwait(false);
        if (isReachable && errors.Count == 0)
        {
            journal.Delete();
            return;
        }

        if (!isReachable)
        {
            session.Options.Note(
                "the hypervisor cannot be reached any more; if it still runs, the next command removes what this one "
                    + "left there");
        }

        if (errors.Count > 0)
        {
            var (kind, message) = cause switch
            {
                BackupException backup => (backup.Kind, backup.Message),
                QmpException or OperationCanceledException => (BackupErrorKind.Hypervisor, cause.Message),
                _ => (BackupErrorKind.State, cause.Message),
            };
            throw new BackupException(kind, message, cause)
            {
                Class = (cause as BackupException)?.Class, UndoErrors = errors,
            };
        }
    }
}
