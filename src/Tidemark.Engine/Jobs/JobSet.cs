using Tidemark.Engine.Events;
using Tidemark.Qmp;

namespace Tidemark.Engine.Jobs;

// The jobs of one engine and their ends. A job's work runs beside the commands; when it ends, the command gate is
// taken, and the rest, from `waiting` or `aborting` to `concluded`, happens under it. A command that looks at jobs
// therefore sees them in a state that stands.

/// <summary>The jobs of one engine. All methods but <see cref="Start"/>'s background run under the command
/// gate.</summary>
internal sealed class JobSet
{
    /// <summary>How many jobs one engine keeps, the concluded ones included.</summary>
    internal const int MaximumJobs = 1024;

    private const string CancelledText = "Operation canceled";

    private readonly List<Job> _jobs = [];
    private readonly CommandGate _gate;
    private readonly IEventSink _events;

    internal JobSet(CommandGate gate, IEventSink events)
    {
        _gate = gate;
        _events = events;
    }

    /// <summary>The jobs, the newest first, as QEMU lists them.</summary>
    internal IEnumerable<Job> All => Enumerable.Reverse(_jobs);

    /// <summary>The job of that id, or null.</summary>
    internal Job? Find(string id) => _jobs.Find(job => string.Equals(job.Id, id, StringComparison.Ordinal));

    /// <summary>Refuses an id that is malformed or taken.</summary>
    internal void CheckId(string id)
    {
        if (!Names.IsWellFormed(id))
        {
            throw Refuse($"Invalid job ID '{id}'");
        }

        if (Find(id) is not null)
        {
            throw Refuse($"Job ID '{id}' already in use");
        }

        if (_jobs.Count >= MaximumJobs)
        {
            throw Refuse($"{_jobs.Count} jobs exist already; dismiss some of them");
        }
    }

    /// <summary>Takes a job in, in the state <c>created</c>.</summary>
    internal void Add(Job job)
    {
        CheckId(job.Id);
        _jobs.Add(job);
        job.SetStatus(JobStatus.Created);
    }

    /// <summary>Begins a job's work.</summary>
    internal void Start(Job job)
    {
        job.SetStatus(JobStatus.Running);
        job.Running = RunAsync(job);
    }

    /// <summary>Ends a job that was never started, with the transaction that held it.</summary>
    internal void Abandon(Job job)
    {
        job.SetStatus(JobStatus.Aborting);
        job.SetStatus(JobStatus.Concluded);
        Forget(job);
    }

    /// <summary>The work has come to where it can be told how to end. Not under the command gate.</summary>
    internal async ValueTask BecomeReadyAsync(Job job)
    {
        using var turn = await _gate.EnterAsync(job.Cancellation).ConfigureAwait(false);
        if (job.Status is JobStatus.Running or JobStatus.Paused)
        {
            job.SetStatus(job.Status == JobStatus.Paused ? JobStatus.Standby : JobStatus.Ready);
            _events.Emit("BLOCK_JOB_READY", job.ToEndEvent());
        }
    }

    /// <summary><c>job-cancel</c>, and <c>block-job-cancel</c>: which, unless forced, lets a ready job end with what it
    /// has made instead.</summary>
    internal async ValueTask CancelAsync(Job job, bool force = true)
    {
        Require(job, "cancel", JobStatus.Created, JobStatus.Running, JobStatus.Paused, JobStatus.Ready,
            JobStatus.Standby, JobStatus.Waiting, JobStatus.Pending);
        if (!force && job.IsReady)
        {
            job.RequestEnd(completes: false);
            return;
        }

        var wasPending = job.Status == JobStatus.Pending;
        job.Cancel();
        if (wasPending)
        {
            await AbortAsync(job).ConfigureAwait(false);
        }
    }

    /// <summary><c>job-finalize</c>.</summary>
    internal ValueTask FinalizeAsync(Job job)
    {
        Require(job, "finalize", JobStatus.Pending);
        return CommitAsync(job);
    }

    /// <summary><c>job-dismiss</c>.</summary>
    internal void Dismiss(Job job)
    {
        Require(job, "dismiss", JobStatus.Concluded);
        Forget(job);
    }

    /// <summary><c>job-pause</c>.</summary>
    internal static void Pause(Job job)
    {
        Require(job, "pause", JobStatus.Created, JobStatus.Running, JobStatus.Paused, JobStatus.Ready,
            JobStatus.Standby);
        if (job.Status is JobStatus.Paused or JobStatus.Standby)
        {
            throw Refuse("Job is already paused");
        }

        job.Pause();
    }

    /// <summary><c>job-resume</c>.</summary>
    internal static void Resume(Job job)
    {
        Require(job, "resume", JobStatus.Created, JobStatus.Running, JobStatus.Paused, JobStatus.Ready,
            JobStatus.Standby);
        if (job.Status is not (JobStatus.Paused or JobStatus.Standby))
        {
            throw Refuse("Can't resume a job that was not paused");
        }

        job.Resume();
    }

    /// <summary><c>job-complete</c>.</summary>
    internal static void Complete(Job job)
    {
        Require(job, "complete", JobStatus.Ready);
        job.RequestEnd(completes: true);
    }

    /// <summary>Cancels every job and waits for their ends. Not under the command gate: the ends take it.</summary>
    internal async Task ShutDownAsync()
    {
        Job[] jobs;
        using (await _gate.EnterAsync(CancellationToken.None).ConfigureAwait(false))
        {
            jobs = [.. _jobs];
            foreach (var job in jobs)
            {
                if (job.Status is not (JobStatus.Concluded or JobStatus.Aborting))
                {
                    await CancelAsync(job).ConfigureAwait(false);
                }
            }
        }

        foreach (var job in jobs)
        {
            await job.Running.ConfigureAwait(false);
        }

        using (await _gate.EnterAsync(CancellationToken.None).ConfigureAwait(false))
        {
            foreach (var job in _jobs.ToArray())
            {
                Forget(job);
            }
        }
    }

    private async Task RunAsync(Job job)
    {
        // The command that starts the job holds the gate; it replies first when the work is short.
        await Task.Yield();
        string? error = null;
        try
        {
            await job.RunAsync(job.Cancellation).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (job.IsCancelled)
        {
            error = CancelledText;
        }
        catch (Exception exception)
        {
            // Whatever stops the work is the job's error: nobody else waits for this task.
            error = exception.Message;
        }

        using (await _gate.EnterAsync(CancellationToken.None).ConfigureAwait(false))
        {
            if (error is not null || job.IsCancelled)
            {
                job.Fail(job.IsCancelled ? CancelledText : error!);
                await AbortAsync(job).ConfigureAwait(false);
                return;
            }

            job.SetStatus(JobStatus.Waiting);
            job.SetStatus(JobStatus.Pending);
            if (job.AutoFinalize)
            {
                await CommitAsync(job).ConfigureAwait(false);
            }
            else if (job.IsBlockJob)
            {
                _events.Emit("BLOCK_JOB_PENDING", new() { ["type"] = job.Type, ["id"] = job.Id });
            }
        }
    }

    private async ValueTask CommitAsync(Job job)
    {
        try
        {
            await job.PrepareAsync().ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            // As with RunAsync: whatever stops the work is the job's error.
            job.Fail(exception.Message);
            await AbortAsync(job).ConfigureAwait(false);
            return;
        }

        await GuardAsync(job, job.CommitAsync).ConfigureAwait(false);
        Conclude(job, "BLOCK_JOB_COMPLETED");
    }

    private async ValueTask AbortAsync(Job job)
    {
        if (job.IsCancelled)
        {
            job.Fail(CancelledText);
        }

        job.SetStatus(JobStatus.Aborting);
        await GuardAsync(job, job.AbortAsync).ConfigureAwait(false);
        Conclude(job, job.IsCancelled ? "BLOCK_JOB_CANCELLED" : "BLOCK_JOB_COMPLETED");
    }

    // These steps must not fail. If one has a bug all the same, the job ends with it as its error: a job that never
    // ended would hold its nodes for ever.
    private static async ValueTask GuardAsync(Job job, Func<ValueTask> step)
    {
        try
        {
            await step().ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            job.Fail(exception.Message);
        }
    }

    private void Conclude(Job job, string eventName)
    {
        if (job.IsBlockJob)
        {
            _events.Emit(eventName, job.ToEndEvent());
        }

        job.SetStatus(JobStatus.Concluded);
        if (job.AutoDismiss)
        {
            Forget(job);
        }
    }

    private void Forget(Job job)
    {
        _jobs.Remove(job);
        job.SetStatus(JobStatus.Null);
        job.Dispose();
    }

    private static void Require(Job job, string verb, params ReadOnlySpan<JobStatus> states)
    {
        if (!states.Contains(job.Status))
        {
            throw Refuse($"Job '{job.Id}' in state '{job.Status.ToText()}' cannot accept command verb '{verb}'");
        }
    }

    private static QmpException Refuse(string description) => new(QmpException.GenericError, description);
}
