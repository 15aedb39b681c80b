using Tidemark.Blocks.Graph;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Blocks.Copy;

// The background: a few workers that take one step after another until nothing remains.
public sealed partial class BlockCopy
{
    /// <summary>
    /// Copies until nothing remains, beside whoever needs single ranges at once. When it returns, every wanted cluster
    /// is on the target (not flushed).
    /// </summary>
    /// <param name="run">How many steps at one time, who paces them, who decides about errors.</param>
    /// <param name="cancellationToken">Ends the run after the steps under way; what is copied stays copied.</param>
    /// <exception cref="BlockException">The source or the target failed, or the copy was stopped.</exception>
    public async Task RunAsync(BlockCopyRun? run = null, CancellationToken cancellationToken = default)
    {
        run ??= new BlockCopyRun();
        var count = Math.Clamp(run.Workers, 1, BlockCopyRun.MaximumWorkers);
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var failures = new FirstFailure();
        var workers = new Task[count];
        for (var index = 0; index < count; index++)
        {
            workers[index] = WorkAsync(run, failures, ending);
        }

        await Task.WhenAll(workers).ConfigureAwait(false);
        cancellationToken.ThrowIfCancellationRequested();
        failures.Throw();
    }

    private async Task WorkAsync(BlockCopyRun run, FirstFailure failures, CancellationTokenSource ending)
    {
        if (!_options.InlineContinuations)
        {
            await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
        }

        var ended = await failures.GuardAsync(() => WorkAsync(run, ending.Token)).ConfigureAwait(false);
        if (!ended)
        {
            ending.Cancel();
        }
    }

    private async ValueTask WorkAsync(BlockCopyRun run, CancellationToken cancellationToken)
    {
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            if (run.BeforeStep is { } before && NextStepLength() is var length and > 0)
            {
                await before(length, cancellationToken).ConfigureAwait(false);
            }

            BlockCopyStep? step;
            BlockCopyStep? other = null;
            Exception? error = null;
            var entered = await EnterGraphAsync(cancellationToken).ConfigureAwait(false);
            try
            {
                lock (_gate)
                {
                    ThrowIfStopped();
                    step = TakeNextStep();
                    other = step is null && _steps.Count > 0 ? _steps[0] : null;
                }

                if (step is not null)
                {
                    Begin(step, detached: false);
                    error = await step.WaitAsync(CancellationToken.None).ConfigureAwait(false);
                }
            }
            finally
            {
                entered?.ExitRequest();
            }

            if (step is null)
            {
                if (other is null)
                {
                    return;
                }

                // The last steps are others': they may fail, and then their clusters remain after all.
                await other.WaitAsync(cancellationToken).ConfigureAwait(false);
            }
            else if (error is not null)
            {
                await DecideAsync(run, step, error, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    private async ValueTask DecideAsync(
        BlockCopyRun run, BlockCopyStep step, Exception error, CancellationToken cancellationToken)
    {
        ThrowIfStopped();
        cancellationToken.ThrowIfCancellationRequested();
        var decision = run.OnError is null
            ? BlockCopyDecision.Fail
            : await run.OnError(new BlockCopyError(step.Offset, step.Length, step.IsReading, error))
                .ConfigureAwait(false);
        if (decision == BlockCopyDecision.Fail)
        {
            throw AsBlockException(error);
        }
    }

    private long NextStepLength()
    {
        lock (_gate)
        {
            return _remaining.TryNextDirty(_cursor, Length - _cursor, out var run, _stepLength) ? run.Length : 0;
        }
    }

    private async ValueTask<BlockGraph?> EnterGraphAsync(CancellationToken cancellationToken)
    {
        if (_options.Graph is { } graph)
        {
            await graph.EnterRequestAsync(cancellationToken).ConfigureAwait(false);
        }

        return _options.Graph;
    }
}
