using Tidemark.Blocks.Buffers;

namespace Tidemark.Blocks.Tests.Buffers;

public sealed class BufferPoolTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Renting_past_the_budget_waits_in_order_of_arrival()
    {
        var pool = new BufferPool(100);
        var first = await pool.RentAsync(60, Token);
        Assert.Equal(60, first.Memory.Length);
        var large = pool.RentAsync(70, Token).AsTask();
        var small = pool.RentAsync(10, Token).AsTask();
        Assert.False(large.IsCompleted || small.IsCompleted);
        first.Dispose();
        using var one = await large;
        using var two = await small;
        Assert.Equal(80, pool.Lent);
    }

    [Fact]
    public async Task A_cancelled_wait_passes_its_turn_on()
    {
        var pool = new BufferPool(100);
        var all = await pool.RentAsync(100, Token);
        using var cancel = new CancellationTokenSource();
        var given = pool.RentAsync(100, cancel.Token).AsTask();
        var next = pool.RentAsync(50, Token).AsTask();
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => given);
        all.Dispose();
        (await next).Dispose();
        Assert.Equal(0, pool.Lent);
    }

    [Fact]
    public async Task More_than_the_whole_budget_is_refused() =>
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => new BufferPool(10).RentAsync(11, Token).AsTask());
}
