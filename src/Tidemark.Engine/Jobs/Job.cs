using Tidemark.Engine.Events;

namespace Tidemark.Engine.Jobs;

// A job's life, as QEMU has it (qapi/job.json, JobStatus):
//
//   created -> running <-> paused -> waiting -> pending -> concluded -> null      the work was done
//                   \________________________________\--> aborting -> concluded -> null      it failed or was cancelled
//
// A job that keeps two disks alike goes from running to ready (<-> standby when it is paused), and on from there when
// it is told how to end: job-complete, or a gentle block-job-cancel.
//
// RunAsync does the work, beside everything else. PrepareAsync, CommitAsync and AbortAsync run under the engine's
// command gate, so no command sees half of it. PrepareAsync makes the change of the graph that the work was for, all of
// it or none; CommitAsync and AbortAsync take the job's traces away. Success is decided before CommitAsync: whatever
// can still fail, the flush of what was written above all, belongs into RunAsync or PrepareAsync.

/// <summary>Something long that a command began. Its state is guarded by the engine's command gate.</summary>
internal abstract class Job : IDisposable
{
    private readonly CancellationTokenSource _cancellation = new();
    private readonly IEventSink _events;
    private readonly TaskCompletionSource<bool> _end = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private TaskCompletionSource? _resumed;

    protected Job(string id, IEventSink events)
    {
        Id = id;
        _events = events;
    }

    /// <summary>The job's name among all jobs.</summary>
    internal string Id { get; }

    /// <summary>QEMU's name of the kind: <c>backup</c>, <c>create</c>.</summary>
    internal abstract string Type { get; }

    /// <summary>Whether it is a block job, which has events and queries of its own besides.</summary>
    internal virtual bool IsBlockJob => false;

    /// <summary>Whether a finished job commits by itself, without <c>job-finalize</c>.</summary>
    internal bool AutoFinalize { get; init; } = true;

    /// <summary>Whether a concluded job goes by itself, without <c>job-dismiss</c>.</summary>
    internal bool AutoDismiss { get; init; } = true;

    /// <summary>The bytes a second that it may copy; zero for no limit.</summary>
    internal long Speed { get; init; }

    /// <summary>Whether it stands where it can be told how to end.</summary>
    internal bool IsReady => Status is JobStatus.Ready or JobStatus.Standby;

    /// <summary>Where it stands.</summary>
    internal JobStatus Status { get; private set; }

    /// <summary>Why it failed, or null.</summary>
    internal string? Error { get; private set; }

    /// <summary>Whether somebody asked for its end.</summary>
    internal bool IsCancelled { get; private set; }

    /// <summary>How much is done, in the job's own unit: bytes for a backup.</summary>
    internal abstract long CurrentProgress { get; }

    /// <summary>How much there is to do, in the same unit.</summary>
    internal abstract long TotalProgress { get; }

    /// <summary>The running work, once begun; never faults.</summary>
    internal Task Running { get; set; } = Task.CompletedTask;

    /// <summary>Cancelled when the job is.</summary>
    internal CancellationToken Cancellation => _cancellation.Token;

    /// <inheritdoc/>
    public void Dispose() => _cancellation.Dispose();

    /// <summary>Does the work; what it wrote is durable when it returns.</summary>
    internal abstract Task RunAsync(CancellationToken cancellationToken);

    /// <summary>The work is done and accepted: the change that it was for. If it fails, it has changed nothing, and the
    /// job fails.</summary>
    internal virtual ValueTask PrepareAsync() => default;

    /// <summary>Everything is done. Must not fail.</summary>
    internal virtual ValueTask CommitAsync() => default;

    /// <summary>The work failed or was cancelled. Must not fail.</summary>
    internal virtual ValueTask AbortAsync() => default;

    /// <summary>Moves to a state and says so.</summary>
    internal void SetStatus(JobStatus status)
    {
        Status = status;
        _events.JobStatusChanged(this);
    }

    /// <summary>Notes the first reason of failure.</summary>
    internal void Fail(string error) => Error ??= error;

    /// <summary>Asks the work to end.</summary>
    internal void Cancel()
    {
        IsCancelled = true;
        _cancellation.Cancel();
    }

    /// <summary>Tells a ready job how to end.</summary>
    /// <param name="completes">Whether with the change that it was for; else as if there had been none.</param>
    internal void RequestEnd(bool completes) => _end.TrySetResult(completes);

    /// <summary>Holds the work at its next pause point.</summary>
    internal void Pause()
    {
        _resumed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        SetStatus(IsReady ? JobStatus.Standby : JobStatus.Paused);
    }

    /// <summary>Lets the work go on.</summary>
    internal void Resume()
    {
        var resumed = _resumed;
        _resumed = null;
        SetStatus(IsReady ? JobStatus.Ready : JobStatus.Running);
        resumed?.TrySetResult();
    }

    /// <summary>Completes when a ready job was told how to end.</summary>
    protected Task<bool> EndRequested => _end.Task;

    /// <summary>A place where the work may be held; called by the work.</summary>
    protected ValueTask PausePointAsync(CancellationToken cancellationToken)
    {
        var resumed = Volatile.Read(ref _resumed);
        return resumed is null ? default : new ValueTask(resumed.Task.WaitAsync(cancellationToken));
    }
}
