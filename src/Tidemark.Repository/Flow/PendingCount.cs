namespace Tidemark.Repository.Flow;

/// <summary>Counts work that is under way, and lets callers wait until none is. Thread-safe.</summary>
internal sealed class PendingCount
{
    private readonly Lock _gate = new();

    // Guarded by _gate.
    private int _count;
    private TaskCompletionSource? _idle;

    internal void Add()
    {
        lock (_gate)
        {
            _count++;
        }
    }

    internal void Done()
    {
        TaskCompletionSource? idle = null;
        lock (_gate)
        {
            if (--_count == 0)
            {
                (idle, _idle) = (_idle, null);
            }
        }

        idle?.SetResult();
    }

    /// <summary>Completes when at some moment after the call nothing is under way.</summary>
    internal Task WaitAsync(CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            if (_count == 0)
            {
                return Task.CompletedTask;
            }

            _idle ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            return _idle.Task.WaitAsync(cancellationToken);
        }
    }
}
