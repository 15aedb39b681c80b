// Carries out steps of a plan, whoever planned them.
//
//   for each step:   journal what takes it back (durable), remember it, do it
//   at the end:      take back what was only needed meanwhile
//   on a failure:    take back everything, last to first
//
// A command that the hypervisor refused had no effect, so nothing of it is taken back: what it names may be another's.
// Where the answer is not known (the monitor was closed), the effect counts as possible.

using System.Text.Json.Nodes;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Journal;
using Tidemark.Backup.Planning;
using Tidemark.Qmp;

namespace Tidemark.Backup.Running;

/// <summary>Does steps, one after the other, and knows what takes them back.</summary>
internal sealed class StepExecutor
{
    private readonly RunJournal _journal;
    private readonly TimeProvider _time;
    private readonly List<UndoAction> _undo = [];

    internal StepExecutor(RunJournal journal, TimeProvider time)
    {
        _journal = journal;
        _time = time;
    }

    /// <summary>The instant of the transaction.</summary>
    internal DateTimeOffset Instant { get; private set; }

    /// <summary>Keeps a full scratch from failing a guest's write; null before the step that makes it.</summary>
    internal ScratchGuard? Guard { get; private set; }

    /// <summary>Does one step.</summary>
    /// <param name="step">The step.</param>
    /// <param name="monitor">The hypervisor.</param>
    /// <param name="jobs">Follows its jobs.</param>
    /// <param name="moveBytes">Does the steps in which bytes move through this process; null if the plan has
    /// none.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="BackupException">It failed.</exception>
    internal async Task ExecuteAsync(
        PlanStep step,
        IMonitor monitor,
        JobWatcher jobs,
        Func<PlanStep, CancellationToken, Task>? moveBytes,
        CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        if (step is PlanStep.CreateFile create)
        {
            // Before the journal says that the file is ours: what is there already must never be taken back.
            LocalEffects.RefuseExisting(create.Path);
        }

        foreach (var socket in step.Undo.OfType<UndoAction.ServerSocket>())
        {
            LocalEffects.RefuseTaken(socket.Path);
        }

        if (step is PlanStep.Transaction)
        {
            _journal.WillFreeze(step.Undo, _time.GetUtcNow());
        }
        else
        {
            _journal.WillDo(step.Undo);
        }

        var before = _undo.Count;
        _undo.AddRange(step.Undo);
        try
        {
            await DoAsync(step, monitor, jobs, moveBytes, cancellationToken).ConfigureAwait(false);
        }
        catch (FileNotMadeException exception)
        {
            _undo.RemoveRange(before, _undo.Count - before);
            throw new BackupException(BackupErrorKind.Request, exception.Message, exception);
        }
        catch (QmpException exception)
        {
            if (WasRefused(step, exception))
            {
                _undo.RemoveRange(before, _undo.Count - before);
            }

            throw Explain(step, exception);
        }
    }

    /// <summary>Notes an effect that is about to happen outside of a step.</summary>
    internal void WillDo(UndoAction undo)
    {
        _journal.WillDo([undo]);
        _undo.Add(undo);
    }

    /// <summary>Takes back what was only needed meanwhile.</summary>
    /// <param name="monitor">The hypervisor.</param>
    /// <param name="isToStay">What stays.</param>
    /// <returns>What could not be removed.</returns>
    internal async Task<IReadOnlyList<string>> ReleaseAsync(IMonitor monitor, Predicate<UndoAction> isToStay)
    {
        var temporary = _undo.FindAll(action => !isToStay(action));
        var errors = await new UndoExecutor(monitor, _time).UndoAllAsync(temporary).ConfigureAwait(false);
        if (errors.Count == 0)
        {
            _undo.RemoveAll(action => !isToStay(action));
        }

        return errors;
    }

    /// <summary>Takes back everything.</summary>
    /// <param name="monitor">The hypervisor; null when it cannot be reached any more.</param>
    /// <returns>What could not be removed.</returns>
    internal Task<IReadOnlyList<string>> UndoAllAsync(IMonitor? monitor) =>
        new UndoExecutor(monitor, _time).UndoAllAsync(_undo);

    private async Task DoAsync(
        PlanStep step,
        IMonitor monitor,
        JobWatcher jobs,
        Func<PlanStep, CancellationToken, Task>? moveBytes,
        CancellationToken cancellationToken)
    {
        switch (step)
        {
            case PlanStep.CheckScratch check:
                Guard = new ScratchGuard(check.Directories, check.FreeBytes, _time);
                Guard.Check();
                break;
            case PlanStep.MakeDirectory make:
                LocalEffects.MakeDirectory(make.Path);
                break;
            case PlanStep.Command command:
                await monitor.ExecuteAsync(command.Qmp, cancellationToken).ConfigureAwait(false);
                if (command.Qmp.Name == "nbd-server-start")
                {
                    _journal.ServerStarted();
                }

                break;
            case PlanStep.Job job:
                await RunJobAsync(job, monitor, jobs, cancellationToken).ConfigureAwait(false);
                break;
            case PlanStep.CreateFile create:
                var identity = LocalEffects.CreateFile(create.Path, create.LikePath);
                JournalFormat.Identify(_undo, create.Path, identity);
                _journal.Made(create.Path, identity);
                break;
            case PlanStep.Unlink unlink:
                LocalEffects.Unlink(unlink.Path);
                break;
            case PlanStep.Transaction transaction:
                await monitor.ExecuteAsync(transaction.ToCommand(), cancellationToken).ConfigureAwait(false);
                Instant = _time.GetUtcNow();
                break;
            case PlanStep.Serve or PlanStep.Transfer when moveBytes is not null:
                await moveBytes(step, cancellationToken).ConfigureAwait(false);
                break;
            default:
                throw new InvalidOperationException($"an unknown step: {step.Purpose}");
        }
    }

    private static async Task RunJobAsync(
        PlanStep.Job step, IMonitor monitor, JobWatcher jobs, CancellationToken cancellationToken)
    {
        await monitor.ExecuteAsync(step.Qmp, cancellationToken).ConfigureAwait(false);
        var job = await jobs.WaitForEndAsync(step.JobId, cancellationToken).ConfigureAwait(false);
        if (job?.Error is { } error)
        {
            throw new BackupException(BackupErrorKind.Hypervisor, $"could not {step.Purpose}: {error}");
        }

        if (job is not null)
        {
            await monitor.ExecuteAsync(
                new QmpCommand("job-dismiss", new JsonObject { ["id"] = step.JobId }),
                cancellationToken).ConfigureAwait(false);
        }
    }

    // Whether the step's own command was refused, not a question that came after it.
    private static bool WasRefused(PlanStep step, QmpException exception) =>
        exception.ErrorClass is not (QmpException.MonitorClosed or QmpException.ProtocolError)
        && step switch
        {
            PlanStep.Command command => exception.Command == command.Qmp.Name,
            PlanStep.Transaction transaction => exception.Command == transaction.ToCommand().Name,
            _ => false,
        };

    private static BackupException Explain(PlanStep step, QmpException exception)
    {
        var advice = exception.Description.Contains("NBD server already running", StringComparison.Ordinal)
            ? ". A hypervisor has one NBD server at most: name the one that it runs with --nbd URI, "
                + "or, for a domain's backup, with its address in <server> and --nbd-running"
            : "";
        return new BackupException(
            BackupErrorKind.Hypervisor, $"could not {step.Purpose}: {exception.Message}{advice}", exception);
    }
}
