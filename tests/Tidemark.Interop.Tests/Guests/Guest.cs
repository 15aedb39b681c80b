namespace Tidemark.Interop.Tests.Guests;

/// <summary>
/// A guest that writes without pause: numbered writes, one after the other, over all its disks in turn.
/// </summary>
/// <remarks>
/// Most writes fall into a window of 1 MiB that wanders, as those of real guests do; some fall anywhere. So an
/// increment is smaller than the disk and yet has scattered clusters.
/// </remarks>
internal sealed class Guest(GuestWrites writes, Func<int, long, byte[], CancellationToken, Task> write, long slotCount)
    : IAsyncDisposable
{
    private const int WindowSlots = 256;
    private const int WritesPerWindow = 400;

    private readonly CancellationTokenSource _stop = new();
    private Task _writing = Task.CompletedTask;
    private volatile int _restedAt;

    /// <param name="seed">Of what is written where.</param>
    /// <param name="pause">Between two writes.</param>
    /// <param name="tires">Whether the pause grows with each write since somebody last waited for more, so that few
    /// writes suffice for long: fifty for a minute and a half, at 60 ms.</param>
    public void Start(int seed, TimeSpan pause, bool tires = false) =>
        _writing = Task.Run(() => WriteAsync(new Random(seed), pause, tires));

    /// <summary>Stops after the write that is under way; throws what a write failed with.</summary>
    public async Task StopAsync()
    {
        await _stop.CancelAsync();
        await _writing;
    }

    /// <summary>Waits until the guest has written this many more.</summary>
    public async Task WriteMoreAsync(int count, CancellationToken token)
    {
        _restedAt = writes.Completed;
        var until = _restedAt + count;
        while (writes.Completed < until)
        {
            if (_writing.IsCompleted)
            {
                await _writing;
                throw new InvalidOperationException("the guest has stopped");
            }

            await Task.Delay(TimeSpan.FromMilliseconds(5), token);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await Task.WhenAny(_writing);
        _stop.Dispose();
    }

    private async Task WriteAsync(Random random, TimeSpan pause, bool tires)
    {
        while (!_stop.IsCancellationRequested)
        {
            var window = writes.Begun / WritesPerWindow * WindowSlots;
            var slot = random.Next(16) == 0
                ? random.NextInt64(slotCount)
                : (window + random.Next(WindowSlots)) % slotCount;
            var disk = random.Next(writes.DiskCount);
            var number = writes.Begin(disk, slot);
            await write(disk, slot * GuestWrites.SlotLength, writes.Content(number), CancellationToken.None);
            writes.Complete(number);
            if (pause > TimeSpan.Zero)
            {
                var tired = 1 + ((number - _restedAt) / 6.0);
                await Task.Delay(tires ? pause * tired * tired : pause, _stop.Token)
                    .ContinueWith(_ => { }, TaskScheduler.Default);
            }
        }
    }
}
