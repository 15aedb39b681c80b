using Tidemark.Blocks.Nodes;
using Tidemark.Engine.Chains;
using Xunit;

namespace Tidemark.Engine.Tests.Chains;

/// <summary>What a stream job relies on: while it holds a range, nobody else changes a byte of it.</summary>
public sealed class PopulateFilterTests
{
    private const int Held = 4096;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public static TheoryData<string> Changes => ["write", "zeroes", "discard"];

    [Theory]
    [MemberData(nameof(Changes))]
    public async Task A_change_of_a_held_range_waits_and_others_do_not(string change)
    {
        await using var disk = new SlowNode(Task.CompletedTask);
        await using var filter = new PopulateFilter("filter", disk);
        Task inside;
        using (await filter.HoldAsync(Held, Held, Token))
        {
            // The last byte of the range is enough; a neighbour is free, and so are reads.
            inside = ChangeAsync(filter, change, (2 * Held) - 1).AsTask();
            await ChangeAsync(filter, change, 2 * Held);
            await ChangeAsync(filter, change, Held - 1);
            await filter.ReadAsync(Held, new byte[Held], Token);
            Assert.False(inside.IsCompleted);
        }

        await inside.WaitAsync(TimeSpan.FromSeconds(10), Token);
    }

    [Fact]
    public async Task Who_wants_a_range_waits_for_the_change_that_is_under_way()
    {
        var gate = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var disk = new SlowNode(gate.Task);
        await using var filter = new PopulateFilter("filter", disk);
        var writing = filter.WriteAsync(0, new byte[Held], cancellationToken: Token).AsTask();
        var holding = filter.HoldAsync(0, 1, Token).AsTask();
        Assert.False(holding.IsCompleted);
        gate.SetResult();
        await writing;
        (await holding.WaitAsync(TimeSpan.FromSeconds(10), Token)).Dispose();
    }

    private static ValueTask ChangeAsync(BlockNode node, string change, long offset) => change switch
    {
        "write" => node.WriteAsync(offset, new byte[1], cancellationToken: Token),
        "zeroes" => node.WriteZeroesAsync(offset, 1, cancellationToken: Token),
        _ => node.DiscardAsync(offset, 1, Token),
    };

    private sealed class SlowNode(Task gate) : BlockNode("slow")
    {
        public override string Driver => "slow";

        public override long Length => 16 * Held;

        public override ValueTask DisposeAsync() => default;

        protected override ValueTask ReadCoreAsync(
            long offset, Memory<byte> target, CancellationToken cancellationToken) => default;

        protected override ValueTask WriteCoreAsync(
            long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken) =>
            new(gate);

        protected override ValueTask WriteZeroesCoreAsync(
            long offset, long length, WriteFlags flags, CancellationToken cancellationToken) => new(gate);
    }
}
