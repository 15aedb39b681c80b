namespace Tidemark.Blocks.Copy;

/// <summary>How one part of the copier wakes another.</summary>
/// <remarks>
/// In use, whoever is woken continues on a thread of the pool, so that nobody runs another's I/O on his own thread. A
/// test that steps through every interleaving from a seed asks for <c>inline</c>: the woken part then runs at once, on
/// the one thread there is, and the same seed gives the same run.
/// </remarks>
internal static class Signal
{
    internal static TaskCreationOptions Options(bool inline) =>
        inline ? TaskCreationOptions.None : TaskCreationOptions.RunContinuationsAsynchronously;

    internal static TaskCompletionSource Create(bool inline) => new(Options(inline));

    /// <summary>Waits for a task that never faults, or until the wait is cancelled; the task goes on then.</summary>
    internal static Task WaitAsync(Task task, bool inline, CancellationToken cancellationToken) =>
        inline && !task.IsCompleted
            ? WaitInlineAsync(task, cancellationToken)
            : task.WaitAsync(cancellationToken);

    // Task.WaitAsync, and an await of a task that several await, wake their waiters on threads of the pool.
    private static async Task WaitInlineAsync(Task task, CancellationToken cancellationToken)
    {
        var waiter = Create(inline: true);
        using (cancellationToken.UnsafeRegister(
            static (state, token) => ((TaskCompletionSource)state!).TrySetCanceled(token), waiter))
        {
            _ = task.ContinueWith(
                static (_, state) => ((TaskCompletionSource)state!).TrySetResult(),
                waiter,
                CancellationToken.None,
                TaskContinuationOptions.ExecuteSynchronously,
                TaskScheduler.Default);
            await waiter.Task.ConfigureAwait(false);
        }
    }
}
