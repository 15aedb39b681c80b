using Tidemark.Blocks.Copy;
using Tidemark.Testing;

namespace Tidemark.Blocks.Tests.Copy;

public sealed class RangeLockTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Sharers_go_together_and_an_exclusive_one_waits_for_both()
    {
        var ranges = new RangeLock();
        var first = await ranges.EnterSharedAsync(0, 10, Token);
        var second = await ranges.EnterSharedAsync(5, 10, Token);
        var alone = ranges.EnterExclusiveAsync(8, 1, Token).AsTask();
        first.Dispose();
        Assert.False(alone.IsCompleted);
        second.Dispose();
        (await alone).Dispose();
        Assert.Equal(0, ranges.Count);
    }

    [Fact]
    public async Task Nobody_passes_an_earlier_one_that_is_in_the_way()
    {
        var ranges = new RangeLock();
        var reader = await ranges.EnterSharedAsync(0, 10, Token);
        var writer = ranges.EnterExclusiveAsync(0, 10, Token).AsTask();
        var late = ranges.EnterSharedAsync(0, 10, Token).AsTask();
        var elsewhere = await ranges.EnterExclusiveAsync(10, 10, Token);
        Assert.False(writer.IsCompleted || late.IsCompleted);
        reader.Dispose();
        var held = await writer;
        Assert.False(late.IsCompleted);
        held.Dispose();
        (await late).Dispose();
        elsewhere.Dispose();
    }

    [Fact]
    public async Task Who_gives_up_waiting_is_out_of_the_way()
    {
        var ranges = new RangeLock();
        var reader = await ranges.EnterSharedAsync(0, 10, Token);
        using var cancel = new CancellationTokenSource();
        var writer = ranges.EnterExclusiveAsync(0, 10, cancel.Token).AsTask();
        var late = ranges.EnterSharedAsync(0, 10, Token).AsTask();
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => writer);
        (await late).Dispose();
        reader.Dispose();
        Assert.Equal(0, ranges.Count);
    }

    [Fact]
    public async Task Breaking_lets_all_through()
    {
        var ranges = new RangeLock();
        using var reader = await ranges.EnterSharedAsync(0, 10, Token);
        var writer = ranges.EnterExclusiveAsync(0, 10, Token).AsTask();
        var free = ranges.WaitUntilFreeAsync(0, 1, Token).AsTask();
        Assert.False(writer.IsCompleted || free.IsCompleted);
        ranges.Break();
        (await writer).Dispose();
        await free;
        (await ranges.EnterExclusiveAsync(0, 10, Token)).Dispose();
    }

    [Fact]
    public Task Many_threads_never_hold_what_excludes_another() => TestSeed.RunAsync(async random =>
    {
        var ranges = new RangeLock();
        var held = new int[16];
        var seeds = Enumerable.Range(0, 4).Select(_ => random.Next()).ToArray();
        await Task.WhenAll(seeds.Select(seed => Task.Run(
            async () =>
            {
                var own = new Random(seed);
                for (var turn = 0; turn < 2000; turn++)
                {
                    var from = own.Next(held.Length);
                    var count = 1 + own.Next(held.Length - from);
                    var exclusive = own.Next(2) == 0;
                    using var entry = exclusive
                        ? await ranges.EnterExclusiveAsync(from, count, Token)
                        : await ranges.EnterSharedAsync(from, count, Token);
                    for (var at = from; at < from + count; at++)
                    {
                        // A sharer counts one, an exclusive one a thousand: nobody may meet the latter.
                        var before = Interlocked.Add(ref held[at], exclusive ? 1000 : 1) - (exclusive ? 1000 : 1);
                        Assert.True(exclusive ? before == 0 : before < 1000);
                    }

                    for (var at = from; at < from + count; at++)
                    {
                        Interlocked.Add(ref held[at], exclusive ? -1000 : -1);
                    }
                }
            },
            Token)));
        Assert.Equal(0, ranges.Count);
    });
}
