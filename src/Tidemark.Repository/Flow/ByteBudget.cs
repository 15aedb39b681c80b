namespace Tidemark.Repository.Flow;

/// <summary>
/// Bounds the bytes that are under way: taking waits, in order, until enough were given back. Thread-safe.
/// </summary>
internal sealed class ByteBudget
{
    private readonly long _capacity;
    private readonly Lock _gate = new();

    // Guarded by _gate.
    private readonly Queue<(long Bytes, TaskCompletionSource Ready)> _waiting = new();
    private long _free;

    internal ByteBudget(long capacity)
    {
        _capacity = capacity;
        _free = capacity;
    }

    /// <summary>Takes bytes; more than the whole capacity counts as the whole capacity.</summary>
    /// <remarks>Cancelled, nothing is taken.</remarks>
    internal async ValueTask TakeAsync(long bytes, CancellationToken cancellationToken)
    {
        bytes = Math.Min(bytes, _capacity);
        TaskCompletionSource ready;
        lock (_gate)
        {
            if (_waiting.Count == 0 && _free >= bytes)
            {
                _free -= bytes;
                return;
            }

            ready = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            _waiting.Enqueue((bytes, ready));
        }

        using var registration = cancellationToken.UnsafeRegister(
            static (state, token) => ((TaskCompletionSource)state!).TrySetCanceled(token), ready);
        await ready.Task.ConfigureAwait(false);
    }

    /// <summary>Takes bytes without waiting, even if there are not enough: later takers wait the longer.</summary>
    internal void TakeAtOnce(long bytes)
    {
        lock (_gate)
        {
            _free -= Math.Min(bytes, _capacity);
        }
    }

    /// <summary>Gives bytes back, the same number as were taken.</summary>
    internal void Return(long bytes)
    {
        lock (_gate)
        {
            _free += Math.Min(bytes, _capacity);
            while (_waiting.TryPeek(out var next) && (next.Ready.Task.IsCompleted || _free >= next.Bytes))
            {
                _waiting.Dequeue();
                if (next.Ready.TrySetResult())
                {
                    _free -= next.Bytes;
                }
            }
        }
    }
}
