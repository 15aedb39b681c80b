using Tidemark.Blocks.Graph;
using Tidemark.Testing;

namespace Tidemark.Blocks.Tests.Graph;

public sealed class GraphTransactionTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Commits_in_order_and_cleans_up_afterwards()
    {
        await using var graph = new BlockGraph();
        List<string> log = [];
        await new GraphTransaction(graph)
            .Add(new LoggingAction("a", log))
            .Add(new LoggingAction("b", log))
            .RunAsync(Token);
        Assert.Equal(["prepare a", "prepare b", "commit a", "commit b", "clean a", "clean b"], log);
    }

    [Fact]
    public async Task A_failure_aborts_the_prepared_actions_in_reverse_and_is_the_error()
    {
        await using var graph = new BlockGraph();
        List<string> log = [];
        var error = await Assert.ThrowsAsync<InvalidOperationException>(() => new GraphTransaction(graph)
            .Add(new LoggingAction("a", log))
            .Add(new LoggingAction("b", log))
            .Add(new LoggingAction("c", log) { Fails = true })
            .Add(new LoggingAction("d", log))
            .RunAsync(Token));
        Assert.Equal("c fails", error.Message);
        Assert.Equal(["prepare a", "prepare b", "prepare c", "abort b", "abort a", "clean a", "clean b"], log);
    }

    [Fact]
    public async Task Actions_run_while_no_request_is_under_way()
    {
        await using var graph = new BlockGraph();
        var node = new GatedNode("disk", new byte[4096]);
        graph.Add(node);
        using var backend = graph.CreateBackend(node, "test");
        var before = backend.WriteAsync(0, new byte[512], cancellationToken: Token).AsTask();
        List<string> log = [];
        var run = new GraphTransaction(graph).Add(new LoggingAction("a", log)).RunAsync(Token);
        Assert.Empty(log);
        var after = backend.WriteAsync(512, new byte[512], cancellationToken: Token).AsTask();
        Assert.Single(node.Pending);
        node.Pending[0].SetResult();
        await before;
        await run;
        Assert.Equal(3, log.Count);
        while (node.Pending.Count < 2)
        {
            await Task.Yield();
        }

        node.Pending[1].SetResult();
        await after;
    }

    [Fact]
    public async Task A_cancelled_transaction_leaves_nothing_and_lets_requests_in_again()
    {
        await using var graph = new BlockGraph();
        var node = new GatedNode("disk", new byte[4096]);
        graph.Add(node);
        using var backend = graph.CreateBackend(node, "test");
        var before = backend.WriteAsync(0, new byte[512], cancellationToken: Token).AsTask();
        List<string> log = [];
        using var cancel = new CancellationTokenSource();
        var run = new GraphTransaction(graph).Add(new LoggingAction("a", log)).RunAsync(cancel.Token);
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => run);
        Assert.Empty(log);
        var after = backend.WriteAsync(512, new byte[512], cancellationToken: Token).AsTask();
        Assert.Equal(2, node.Pending.Count);
        node.Pending.ForEach(pending => pending.SetResult());
        await Task.WhenAll(before, after);
    }

    [Fact]
    public async Task A_drained_section_never_overlaps_a_request()
    {
        // Four writers against one drainer: the counter inside the section must never move.
        await using var graph = new BlockGraph();
        var node = new MemoryNode("disk", new byte[4096]);
        graph.Add(node);
        using var backend = graph.CreateBackend(node, "test");
        var inside = 0;
        var stop = false;
        var writers = Enumerable.Range(0, 4).Select(_ => Task.Run(async () =>
        {
            while (!Volatile.Read(ref stop))
            {
                await backend.RunAsync(
                    0,
                    (_, _, _) =>
                    {
                        Interlocked.Increment(ref inside);
                        Thread.SpinWait(20);
                        Interlocked.Decrement(ref inside);
                        return default;
                    },
                    Token);
            }
        }, Token)).ToArray();
        for (var round = 0; round < 3000; round++)
        {
            using (await graph.DrainAsync(Token))
            {
                Assert.Equal(0, Volatile.Read(ref inside));
                Thread.SpinWait(50);
                Assert.Equal(0, Volatile.Read(ref inside));
            }
        }

        Volatile.Write(ref stop, true);
        await Task.WhenAll(writers);
    }

    private sealed class LoggingAction(string name, List<string> log) : GraphAction
    {
        public bool Fails { get; init; }

        public override ValueTask PrepareAsync(CancellationToken cancellationToken)
        {
            log.Add($"prepare {name}");
            return Fails ? throw new InvalidOperationException($"{name} fails") : default;
        }

        public override void Commit() => log.Add($"commit {name}");

        public override void Abort() => log.Add($"abort {name}");

        public override ValueTask CleanUpAsync()
        {
            log.Add($"clean {name}");
            return default;
        }
    }
}
