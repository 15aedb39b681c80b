namespace Tidemark.Blocks.Graph;

/// <summary>
/// Counts the requests under way from the roots of one graph and can stop new ones: what makes a drained section.
/// </summary>
/// <remarks>Only roots (<see cref="BlockBackend"/>) enter. Code that runs inside a request speaks to nodes directly and
/// never enters again, or a drain would wait for itself.</remarks>
internal sealed class DrainGate
{
    private readonly Lock _gate = new();
    private long _inFlight;
    private volatile TaskCompletionSource? _reopened;
    private TaskCompletionSource? _idle;

    /// <summary>Enters; waits while the gate is shut.</summary>
    internal ValueTask EnterAsync(CancellationToken cancellationToken)
    {
        Interlocked.Increment(ref _inFlight);
        return _reopened is null ? default : EnterSlowlyAsync(cancellationToken);
    }

    /// <summary>Leaves; the last one out wakes the drain.</summary>
    internal void Exit()
    {
        if (Interlocked.Decrement(ref _inFlight) == 0 && _reopened is not null)
        {
            lock (_gate)
            {
                // Counted again under the lock: between the decrement and here a request may have come in before the
                // gate was shut. Then the drain must wait for that one; its own Exit gets here in turn.
                if (Interlocked.Read(ref _inFlight) == 0)
                {
                    _idle?.TrySetResult();
                }
            }
        }
    }

    /// <summary>Shuts the gate and waits until every request that was inside has left.</summary>
    internal async ValueTask ShutAsync(CancellationToken cancellationToken)
    {
        TaskCompletionSource idle;
        lock (_gate)
        {
            _reopened ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            idle = _idle = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        Interlocked.MemoryBarrier();
        if (Interlocked.Read(ref _inFlight) != 0)
        {
            try
            {
                await idle.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
            }
            catch
            {
                Open();
                throw;
            }
        }
    }

    /// <summary>Lets the waiting requests in.</summary>
    internal void Open()
    {
        TaskCompletionSource? reopened;
        lock (_gate)
        {
            reopened = _reopened;
            _reopened = null;
            _idle = null;
        }

        reopened?.TrySetResult();
    }

    private async ValueTask EnterSlowlyAsync(CancellationToken cancellationToken)
    {
        while (_reopened is { } reopened)
        {
            Exit();
            await reopened.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
            Interlocked.Increment(ref _inFlight);
        }
    }
}
