using Tidemark.Nbd.Client;

namespace Tidemark.Engine.Tests.Harness;

/// <summary>Guests that write to one disk all at once and without pause, each to stripes of its own, which share
/// clusters and granules with the others'. What the disk must then hold is known to the byte.</summary>
internal sealed class Writers : IAsyncDisposable
{
    private const int Stripe = 20_000;

    private readonly List<NbdNode> _clients = [];
    private readonly List<Task> _running = [];
    private readonly CancellationTokenSource _stop = new();
    private long[] _counts = [];

    /// <summary>What the disk holds; in the middle of a write it is behind.</summary>
    internal byte[] Model { get; private set; } = [];

    /// <summary>How many writes are completed.</summary>
    internal long Count => _counts.Sum();

    /// <summary>Begins to write.</summary>
    /// <param name="scene">The engine.</param>
    /// <param name="export">The disk's export.</param>
    /// <param name="model">What the disk holds.</param>
    /// <param name="random">Seeds them.</param>
    /// <param name="count">How many guests.</param>
    internal static async Task<Writers> StartAsync(
        EngineScene scene, string export, byte[] model, Random random, int count = 3)
    {
        Writers writers = new() { Model = model, _counts = new long[count] };
        for (var index = 0; index < count; index++)
        {
            var client = await scene.ClientAsync(export);
            writers._clients.Add(client);
            var (number, own) = (index, new Random(random.Next()));
            writers._running.Add(Task.Run(() => writers.WriteAsync(client, number, count, own)));
        }

        await writers.WriteMoreAsync(10);
        return writers;
    }

    /// <summary>Waits until so many more writes are completed.</summary>
    internal Task WriteMoreAsync(int count)
    {
        var until = Count + count;
        return WaitAsync(() => Count >= until);
    }

    /// <summary>Waits until every write that is under way now is completed and in the model.</summary>
    internal Task EachWritesAsync()
    {
        var until = _counts.ToArray();
        return WaitAsync(() => _counts.Zip(until).All(pair => pair.First > pair.Second));
    }

    /// <summary>Stops after the writes that are under way; throws what one failed with.</summary>
    internal async Task StopAsync()
    {
        await _stop.CancelAsync();
        await Task.WhenAll(_running);
    }

    private async Task WaitAsync(Func<bool> isDone)
    {
        while (!isDone())
        {
            if (_running.Find(task => task.IsCompleted) is { } ended)
            {
                await ended;
            }

            await Task.Delay(TimeSpan.FromMilliseconds(1));
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await Task.WhenAll(_running).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        foreach (var client in _clients)
        {
            await client.DisposeAsync();
        }

        _stop.Dispose();
    }

    private async Task WriteAsync(NbdNode client, int number, int count, Random random)
    {
        var stripes = (Model.Length / Stripe / count) - 1;
        while (!_stop.IsCancellationRequested)
        {
            var offset = ((random.Next(stripes) * count) + number) * Stripe;
            var start = random.Next(Stripe - 1);
            var length = random.Next(1, Stripe - start);
            var bytes = new byte[length];
            if (random.Next(5) == 0)
            {
                await client.WriteZeroesAsync(offset + start, length);
            }
            else
            {
                random.NextBytes(bytes);
                await client.WriteAsync(offset + start, bytes);
            }

            bytes.CopyTo(Model, offset + start);
            Interlocked.Increment(ref _counts[number]);
        }
    }
}
