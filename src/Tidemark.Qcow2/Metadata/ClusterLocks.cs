namespace Tidemark.Qcow2.Metadata;

/// <summary>
/// Ranges of guest clusters whose mapping is being changed: whoever wants to change an overlapping one waits. Requests
/// that only read, or overwrite in place, take no lock.
/// </summary>
/// <remarks>Thread-safe. The number of locks at a time is that of the writing requests, so they lie in a plain
/// list.</remarks>
internal sealed class ClusterLocks
{
    private readonly Lock _gate = new();
    private readonly List<Held> _held = [];
    private readonly Stack<Held> _spare = [];

    /// <summary>Waits until no overlapping range is held, then holds this one.</summary>
    internal ValueTask<Held> AcquireAsync(long first, long last, CancellationToken cancellationToken)
    {
        Task wait;
        lock (_gate)
        {
            if (FindOverlap(first, last) is not { } other)
            {
                return ValueTask.FromResult(Hold(first, last));
            }

            wait = other.WaitForRelease();
        }

        return AcquireSlowlyAsync(wait, first, last, cancellationToken);
    }

    internal void Release(Held held)
    {
        TaskCompletionSource? waiters;
        lock (_gate)
        {
            _held.Remove(held);
            waiters = held.Waiters;
            held.Waiters = null;
            _spare.Push(held);
        }

        waiters?.SetResult();
    }

    private async ValueTask<Held> AcquireSlowlyAsync(Task wait, long first, long last,
        CancellationToken cancellationToken)
    {
        while (true)
        {
            await wait.WaitAsync(cancellationToken).ConfigureAwait(false);
            lock (_gate)
            {
                if (FindOverlap(first, last) is not { } other)
                {
                    return Hold(first, last);
                }

                wait = other.WaitForRelease();
            }
        }
    }

    private Held? FindOverlap(long first, long last)
    {
        foreach (var held in _held)
        {
            if (first <= held.Last && held.First <= last)
            {
                return held;
            }
        }

        return null;
    }

    private Held Hold(long first, long last)
    {
        var held = _spare.TryPop(out var spare) ? spare : new Held();
        held.First = first;
        held.Last = last;
        _held.Add(held);
        return held;
    }

    /// <summary>One held range.</summary>
    internal sealed class Held
    {
        internal long First { get; set; }

        internal long Last { get; set; }

        internal TaskCompletionSource? Waiters { get; set; }

        internal Task WaitForRelease() =>
            (Waiters ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).Task;
    }
}
