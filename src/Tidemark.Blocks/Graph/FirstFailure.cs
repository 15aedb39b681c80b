using System.Runtime.ExceptionServices;

namespace Tidemark.Blocks.Graph;

/// <summary>Runs steps that must all have their turn, and keeps the first error for the end.</summary>
internal sealed class FirstFailure
{
    private ExceptionDispatchInfo? _first;

    internal bool IsEmpty => _first is null;

    internal void Guard(Action step)
    {
        try
        {
            step();
        }
        catch (Exception exception)
        {
            Interlocked.CompareExchange(ref _first, ExceptionDispatchInfo.Capture(exception), null);
        }
    }

    /// <summary>Runs a step; false when it failed.</summary>
    internal async ValueTask<bool> GuardAsync(Func<ValueTask> step)
    {
        try
        {
            await step().ConfigureAwait(false);
            return true;
        }
        catch (Exception exception)
        {
            Interlocked.CompareExchange(ref _first, ExceptionDispatchInfo.Capture(exception), null);
            return false;
        }
    }

    internal void Throw() => _first?.Throw();
}
