using Tidemark.Engine.Events;

namespace Tidemark.Engine.Jobs;

// A job's life, as QEMU has it (qapi/job.json, JobStatus):
//
//   created -> running <-> paused -> waiting -> pending -> concluded -> null      the work was done
//                   \________________________________\--> aborting -> concluded -> null      it failed or was cancelled
//
// RunAsync does the work, beside everything else. CommitAsync and AbortAsync take the job's traces out of the graph;
// they run under the engine's command gate, so no command sees half of it. Success is decided before CommitAsync:
// whatever can still fail, the flush of what was written above all, belongs into RunAsync.

/// <summary>Something long that a command began. Its state is guarded by the engine's command gate.</summary>
internal abstract class Job : IDisposable
{
    private readonly CancellationTokenSource _cancellation = new();
    private readonly IEventSink _events;
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

    /// <summary>The work is done and accepted. Must not fail.</summary>
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

    /// <summary>Holds the work at its next pause point.</summary>
    internal void Pause()
    {
        _resumed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        SetStatus(JobStatus.Paused);
    }

    /// <summary>Lets the work go on.</summary>
    internal void Resume()
    {
        var resumed = _resumed;
        _resumed = null;
        SetStatus(JobStatus.Running);
        resumed?.TrySetResult();
    }

    /// <summary>A place where the work may be held; called by the work.</summary>
    protected ValueTask PausePointAsync(CancellationToken cancellationToken)
    {
        var resumed = Volatile.Read(ref _resumed);
        return resumed is null ? default : new ValueTask(resumed.Task.WaitAsync(cancellationToken));
    }
}
