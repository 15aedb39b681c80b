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
            _first ??= ExceptionDispatchInfo.Capture(exception);
        }
    }

    internal async ValueTask GuardAsync(Func<ValueTask> step)
    {
        try
        {
            await step().ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            _first ??= ExceptionDispatchInfo.Capture(exception);
        }
    }

    internal void Throw() => _first?.Throw();
}
