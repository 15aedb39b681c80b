using System.Threading.Channels;

namespace Tidemark.Images.Parts;

/// <summary>
/// One producer that says what is to be done, and a number of workers that do it at the same time, each with memory of
/// its own: the shape of everything that goes over a whole disk. The memory is bounded by workers times their buffer;
/// the first error ends all and is the one that is thrown.
/// </summary>
internal static class PartPipeline
{
    private const int QueueLength = 256;

    /// <summary>Runs to the end.</summary>
    /// <param name="workers">How many workers.</param>
    /// <param name="bufferLength">The memory that each is given, in bytes.</param>
    /// <param name="produce">Puts parts into the queue, in order.</param>
    /// <param name="work">Does one part; the memory is the worker's for the length of the call.</param>
    /// <param name="cancellationToken">Stops all.</param>
    internal static async Task RunAsync(
        int workers,
        int bufferLength,
        Func<Func<DiskPart, ValueTask>, CancellationToken, Task> produce,
        Func<DiskPart, Memory<byte>, CancellationToken, ValueTask> work,
        CancellationToken cancellationToken)
    {
        var queue = Channel.CreateBounded<DiskPart>(new BoundedChannelOptions(QueueLength) { SingleWriter = true });
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Exception? first = null;
        var tasks = new Task[workers + 1];
        tasks[workers] = Task.Run(() => GuardAsync(ProduceAsync), CancellationToken.None);
        for (var index = 0; index < workers; index++)
        {
            tasks[index] = Task.Run(() => GuardAsync(WorkAsync), CancellationToken.None);
        }

        await Task.WhenAll(tasks).ConfigureAwait(false);
        cancellationToken.ThrowIfCancellationRequested();
        if (first is not null)
        {
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(first);
        }

        async Task ProduceAsync()
        {
            await produce(part => queue.Writer.WriteAsync(part, stop.Token), stop.Token).ConfigureAwait(false);
            queue.Writer.Complete();
        }

        async Task WorkAsync()
        {
            Memory<byte> buffer = GC.AllocateUninitializedArray<byte>(bufferLength, pinned: true);
            while (await queue.Reader.WaitToReadAsync(stop.Token).ConfigureAwait(false))
            {
                while (queue.Reader.TryRead(out var part))
                {
                    stop.Token.ThrowIfCancellationRequested();
                    await work(part, buffer, stop.Token).ConfigureAwait(false);
                }
            }
        }

        async Task GuardAsync(Func<Task> body)
        {
            try
            {
                await body().ConfigureAwait(false);
            }
#pragma warning disable CA1031 // Whatever it is, the others must stop; it is thrown again above.
            catch (Exception exception)
#pragma warning restore CA1031
            {
                // Those who only hear of the stop come later than the one who caused it.
                Interlocked.CompareExchange(ref first, exception, null);
                await stop.CancelAsync().ConfigureAwait(false);
            }
        }
    }
}
