using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Copy;
using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Graph;
using Tidemark.Blocks.Nodes;
using Tidemark.Testing;

namespace Tidemark.Blocks.Tests.Copy;

public sealed class BlockCopyTests
{
    private const int Cluster = BlockCopy.DefaultClusterSize;
    private const int Length = (20 * Cluster) + 1000;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task The_whole_disk_is_copied_and_counted(bool detectZeroes)
    {
        var (source, target) = MakeNodes();
        await using var copy = BlockCopy.Between(
            source, target, "test", new BlockCopyOptions { DetectZeroes = detectZeroes });
        Assert.Equal(Length, copy.BytesTotal);
        await copy.RunAsync(cancellationToken: Token);
        Assert.Equal(source.Content, target.Content);
        Assert.Equal(Length, copy.BytesDone);
        Assert.Equal(0, copy.BytesRemaining);
        Assert.Equal(0, copy.GetRemaining().DirtyGranules);
    }

    [Fact]
    public async Task Only_the_clusters_of_the_bitmap_are_copied()
    {
        var (source, target) = MakeNodes();
        var bitmap = new DirtyBitmap("b", Length, 4096);
        bitmap.Set(Cluster + 5, 1);
        bitmap.Set((5 * Cluster) - 1, 2);
        bitmap.Set(Length - 1, 1);
        await using var copy = BlockCopy.Between(source, target, "test", new BlockCopyOptions { Bitmap = bitmap });
        Assert.Equal((3 * Cluster) + 1000, copy.BytesTotal);
        await copy.RunAsync(cancellationToken: Token);
        for (var index = 0; index <= 20; index++)
        {
            var part = new Range(index * Cluster, Math.Min(Length, (index + 1) * Cluster));
            var expected = source.Content[part];
            if (index is not (1 or 4 or 5 or 20))
            {
                expected.AsSpan().Clear();
            }

            Assert.Equal(expected, target.Content[part]);
        }
    }

    [Fact]
    public async Task Zeroes_that_are_found_are_not_sent_as_data()
    {
        var (source, target) = MakeNodes();
        source.Content.AsSpan(0, 10 * Cluster).Clear();
        target.Content.AsSpan().Fill(1);
        var counted = new FaultNode("counted", target);
        await using var copy = BlockCopy.Between(source, counted, "test", new BlockCopyOptions { DetectZeroes = true });
        await copy.RunAsync(new BlockCopyRun { Workers = 1 }, Token);
        Assert.Equal(source.Content, target.Content);
    }

    [Fact]
    public Task A_cluster_that_is_zero_only_in_part_is_copied_as_data() => TestSeed.RunAsync(async random =>
    {
        var content = new byte[Length];
        for (var offset = 0; offset + 4096 <= Length; offset += 4096)
        {
            if (random.Next(3) == 0)
            {
                random.NextBytes(content.AsSpan(offset, 4096));
            }
        }

        // Clusters of one, of four and of sixteen of the units that block status tells apart.
        foreach (var cluster in new[] { 4096, 4 * 4096, 16 * 4096 })
        {
            var source = new StatusNode("source", new MemoryNode("disk", content));
            var target = new MemoryNode("target", new byte[Length]);
            target.Content.AsSpan().Fill(0xff);
            await using var copy = BlockCopy.Between(
                source, target, "test", new BlockCopyOptions { MinimumClusterSize = cluster });
            await copy.RunAsync(cancellationToken: Token);
            Assert.Equal(content, target.Content);
        }
    });

    [Fact]
    public async Task An_error_ends_the_run_and_leaves_the_clusters_to_be_copied()
    {
        var (source, target) = MakeNodes();
        var bad = new FaultNode("bad", target) { WriteFailurePercent = 100, Kind = BlockErrorKind.NoSpace };
        await using var copy = BlockCopy.Between(source, bad, "test");
        var error = await Assert.ThrowsAsync<BlockException>(() => copy.RunAsync(cancellationToken: Token));
        Assert.Equal(BlockErrorKind.NoSpace, error.Kind);
        Assert.Equal(Length, copy.BytesRemaining);
        bad.WriteFailurePercent = 0;
        await copy.RunAsync(cancellationToken: Token);
        Assert.Equal(source.Content, target.Content);
    }

    [Fact]
    public async Task Who_decides_about_errors_learns_the_side_and_may_try_again()
    {
        var (source, target) = MakeNodes();
        var bad = new FaultNode("bad", source) { ReadFailurePercent = 100 };
        List<BlockCopyError> errors = [];
        await using var copy = BlockCopy.Between(bad, target, "test");
        await copy.RunAsync(
            new BlockCopyRun
            {
                Workers = 2,
                OnError = error =>
                {
                    lock (errors)
                    {
                        errors.Add(error);
                        bad.ReadFailurePercent = errors.Count < 3 ? 100 : 0;
                    }

                    return new ValueTask<BlockCopyDecision>(BlockCopyDecision.Retry);
                },
            },
            Token);
        Assert.Equal(source.Content, target.Content);
        Assert.True(errors.Count >= 3);
        Assert.All(errors, error => Assert.True(error.IsRead));
    }

    [Fact]
    public Task With_random_failures_and_retries_everything_arrives() => TestSeed.RunAsync(async random =>
    {
        var (source, target) = MakeNodes();
        var from = new FaultNode("from", source, random.Next()) { ReadFailurePercent = 20 };
        var to = new FaultNode("to", target, random.Next()) { WriteFailurePercent = 20 };
        await using var copy = BlockCopy.Between(
            from, to, "test", new BlockCopyOptions { MinimumClusterSize = 4096, DetectZeroes = true });
        await copy.RunAsync(
            new BlockCopyRun { OnError = _ => new ValueTask<BlockCopyDecision>(BlockCopyDecision.Retry) }, Token);
        Assert.Equal(source.Content, target.Content);
    });

    [Fact]
    public async Task Cancellation_ends_the_run_and_it_can_go_on_later()
    {
        var (source, target) = MakeNodes();
        using var cancel = new CancellationTokenSource();
        await using var copy = BlockCopy.Between(source, target, "test");
        var run = new BlockCopyRun
        {
            BeforeStep = async (_, _) => await cancel.CancelAsync(),
        };
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => copy.RunAsync(run, cancel.Token));
        await copy.RunAsync(cancellationToken: Token);
        Assert.Equal(source.Content, target.Content);
    }

    [Fact]
    public async Task A_stopped_copy_fails_at_once_and_waits_for_its_requests_only_when_disposed()
    {
        var (source, target) = MakeNodes();
        var hold = new TaskCompletionSource();
        var slow = new IgnoringNode("slow", target, hold.Task);
        var copy = BlockCopy.Between(source, slow, "test");
        var run = copy.RunAsync(cancellationToken: Token);
        await slow.Reached.Task;
        copy.Stop(new BlockException(BlockErrorKind.SnapshotBroken, "given up"));
        Assert.Equal("given up", (await Assert.ThrowsAsync<BlockException>(() => run)).Message);
        var disposing = copy.DisposeAsync().AsTask();
        Assert.False(disposing.IsCompleted);
        Assert.NotEmpty(target.Parents);
        hold.SetResult();
        await disposing;
        Assert.Empty(source.Parents);
        Assert.Equal(0, copy.BytesDone);
    }

    [Fact]
    public async Task A_drained_section_holds_the_background_back()
    {
        await using var graph = new BlockGraph();
        var (source, target) = MakeNodes();
        await using var copy = BlockCopy.Between(source, target, "test", new BlockCopyOptions { Graph = graph });
        Task run;
        using (await graph.DrainAsync(Token))
        {
            run = copy.RunAsync(cancellationToken: Token);
            await Task.Delay(TimeSpan.FromMilliseconds(20), Token);
            Assert.Equal(0, copy.BytesDone);
            Assert.False(run.IsCompleted);
        }

        await run;
        Assert.Equal(source.Content, target.Content);
    }

    [Fact]
    public async Task Each_cluster_is_copied_once_whoever_asks_for_it()
    {
        var (source, target) = MakeNodes();
        var counted = new FaultNode("counted", source);
        await using var copy = BlockCopy.Between(counted, target, "test");
        var asked = Enumerable.Range(0, 8).Select(index => Task.Run(
            async () =>
            {
                for (var at = 0; at < 20; at++)
                {
                    var cluster = (at * 7 + index) % 20;
                    await copy.EnsureCopiedAsync((long)cluster * Cluster, Cluster, detached: index % 2 == 0, Token);
                    Assert.True(copy.IsDone((long)cluster * Cluster, Cluster));
                }
            },
            Token));
        await Task.WhenAll([copy.RunAsync(cancellationToken: Token), .. asked]);
        Assert.Equal(source.Content, target.Content);
        Assert.Equal(Length, copy.BytesDone);
        Assert.InRange(counted.Requests, 1, 21);
    }

    [Fact]
    public void A_target_that_is_too_short_is_refused_and_nothing_stays_in_use()
    {
        var source = new MemoryNode("source", new byte[1000]);
        var target = new MemoryNode("target", new byte[999]);
        var error = Assert.Throws<BlockException>(() => BlockCopy.Between(source, target, "test"));
        Assert.Equal(BlockErrorKind.Invalid, error.Kind);
        Assert.Empty(source.Parents);
        Assert.Empty(target.Parents);
    }

    private static (MemoryNode Source, MemoryNode Target) MakeNodes()
    {
        var content = new byte[Length];
        new Random(7).NextBytes(content);
        content.AsSpan(3 * Cluster, 2 * Cluster).Clear();
        return (new MemoryNode("source", content), new MemoryNode("target", new byte[Length]));
    }

    /// <summary>Writes wait and do not listen to cancellation.</summary>
    private sealed class IgnoringNode(string name, BlockNode file, Task hold) : FilterNode(name, file)
    {
        public TaskCompletionSource Reached { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public override string Driver => "slow";

        protected override async ValueTask WriteCoreAsync(
            long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken)
        {
            Reached.TrySetResult();
            await hold;
            await base.WriteCoreAsync(offset, source, flags, CancellationToken.None);
        }
    }

    /// <summary>Tells in its block status which units of 4 KiB are zero.</summary>
    private sealed class StatusNode(string name, MemoryNode file) : FilterNode(name, file)
    {
        public override string Driver => "status";

        protected override ValueTask GetBlockStatusCoreAsync(
            long offset, long length, ExtentList extents, CancellationToken cancellationToken)
        {
            for (var end = offset + length; offset < end;)
            {
                var part = Math.Min(end, (offset / 4096 * 4096) + 4096) - offset;
                var isZero = !file.Content.AsSpan((int)offset, (int)part).ContainsAnyExcept((byte)0);
                extents.Append(offset, part, isZero ? ExtentFlags.Zero | ExtentFlags.Hole : ExtentFlags.None);
                offset += part;
            }

            return default;
        }
    }
}
