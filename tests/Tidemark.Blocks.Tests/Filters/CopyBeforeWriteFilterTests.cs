using Tidemark.Blocks.Copy;
using Tidemark.Blocks.Filters;
using Tidemark.Blocks.Graph;
using Tidemark.Blocks.Nodes;
using Tidemark.Testing;

namespace Tidemark.Blocks.Tests.Filters;

public sealed class CopyBeforeWriteFilterTests : IAsyncDisposable
{
    private const int Cluster = BlockCopy.DefaultClusterSize;
    private const int Length = 8 * Cluster;

    private readonly BlockGraph _graph = new();
    private readonly MemoryNode _disk;
    private readonly byte[] _frozen;

    public CopyBeforeWriteFilterTests()
    {
        _frozen = new byte[Length];
        new Random(3).NextBytes(_frozen);
        _disk = new MemoryNode("disk", [.. _frozen]);
        _graph.Add(_disk);
    }

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public ValueTask DisposeAsync() => _graph.DisposeAsync();

    [Fact]
    public async Task It_takes_over_the_guest_and_gives_it_back()
    {
        using var guest = _graph.CreateBackend(_disk, "export 'vda'");
        var overlay = new MemoryOverlay("scratch", _disk);
        CopyBeforeWriteFilter filter;
        using (await _graph.DrainAsync(Token))
        {
            filter = new CopyBeforeWriteFilter("filter", _disk, overlay);
            filter.Install();
        }

        Assert.Same(filter, guest.Node);
        Assert.Same(_disk, overlay.ChildOf(ChildRole.Backing));
        Assert.Same(filter, CopyBeforeWriteFilter.FindAbove(_disk));
        await guest.WriteAsync(100, new byte[Cluster], cancellationToken: Token);
        Assert.Equal(_frozen, await ReadAsync(overlay));
        filter.Stop();
        using (await _graph.DrainAsync(Token))
        {
            filter.Uninstall();
        }

        await filter.DisposeAsync();
        Assert.Same(_disk, guest.Node);
        Assert.Null(CopyBeforeWriteFilter.FindAbove(_disk));
        await guest.WriteAsync(3 * Cluster, new byte[Cluster], cancellationToken: Token);

        // What was saved can still be read; the rest would be the live disk's, and is refused.
        await overlay.ReadAsync(0, new byte[2 * Cluster], Token);
        var error = await Assert.ThrowsAsync<BlockException>(() => ReadAsync(overlay));
        Assert.Equal(BlockErrorKind.SnapshotBroken, error.Kind);
        await overlay.DisposeAsync();
    }

    [Fact]
    public async Task A_filter_that_was_undone_leaves_the_overlay_as_it_was()
    {
        var overlay = new MemoryOverlay("scratch", _disk);
        var filter = new CopyBeforeWriteFilter("filter", _disk, overlay);
        filter.Install();
        filter.Uninstall();
        await filter.DisposeAsync();
        Assert.Equal(_frozen, await ReadAsync(overlay));
        await overlay.DisposeAsync();
    }

    [Fact]
    public async Task An_overlay_serves_one_point_in_time_only()
    {
        var overlay = new MemoryOverlay("scratch", _disk);
        var filter = new CopyBeforeWriteFilter("filter", _disk, overlay);
        await filter.DisposeAsync();
        var error = Assert.Throws<BlockException>(() => new CopyBeforeWriteFilter("again", _disk, overlay));
        Assert.Equal(BlockErrorKind.Busy, error.Kind);
        await overlay.DisposeAsync();
    }

    [Fact]
    public async Task A_full_scratch_breaks_the_snapshot_and_not_the_guest()
    {
        var full = new FaultNode("full", new MemoryNode("scratch", new byte[Length]))
        {
            WriteFailurePercent = 100,
            Kind = BlockErrorKind.NoSpace,
        };
        var filter = new CopyBeforeWriteFilter("filter", _disk, full);
        var view = new SnapshotAccessNode("view", filter);
        await filter.WriteAsync(0, new byte[512], cancellationToken: Token);
        Assert.Equal(new byte[512], _disk.Content[..512]);
        Assert.Equal(BlockErrorKind.SnapshotBroken, filter.SnapshotError!.Kind);
        var error = await Assert.ThrowsAsync<BlockException>(() => ReadAsync(view));
        Assert.Equal(BlockErrorKind.SnapshotBroken, error.Kind);
        Assert.Contains("'full'", error.Message);
        await view.DisposeAsync();
        await filter.DisposeAsync();
    }

    [Fact]
    public async Task A_full_scratch_breaks_the_guests_write_when_that_is_asked_for()
    {
        var full = new FaultNode("full", new MemoryNode("scratch", new byte[Length]))
        {
            WriteFailurePercent = 100,
            Kind = BlockErrorKind.NoSpace,
        };
        var options = new CopyBeforeWriteOptions { OnError = CopyBeforeWritePolicy.BreakGuestWrite };
        var filter = new CopyBeforeWriteFilter("filter", _disk, full, options);
        var view = new SnapshotAccessNode("view", filter);
        var error = await Assert.ThrowsAsync<BlockException>(
            () => filter.WriteAsync(0, new byte[512], cancellationToken: Token).AsTask());
        Assert.Equal(BlockErrorKind.NoSpace, error.Kind);
        Assert.Equal(_frozen, _disk.Content);
        Assert.Equal(_frozen, await ReadAsync(view));
        full.WriteFailurePercent = 0;
        await filter.WriteAsync(0, new byte[512], cancellationToken: Token);
        Assert.Equal(_frozen, await ReadAsync(view));
        await view.DisposeAsync();
        await filter.DisposeAsync();
    }

    [Fact]
    public async Task What_the_reader_discards_is_not_saved_and_not_read()
    {
        var scratch = new FaultNode("scratch", new MemoryNode("file", new byte[Length]));
        var filter = new CopyBeforeWriteFilter("filter", _disk, scratch);
        var view = new SnapshotAccessNode("view", filter);

        // Parts of clusters at the ends are kept.
        await view.DiscardAsync(Cluster - 100, (2 * Cluster) + 200, Token);
        var requests = scratch.Requests;
        await filter.WriteAsync(Cluster, new byte[2 * Cluster], cancellationToken: Token);
        Assert.Equal(requests, scratch.Requests);
        var error = await Assert.ThrowsAsync<BlockException>(
            () => view.ReadAsync((2 * Cluster) - 1, new byte[1], Token).AsTask());
        Assert.Equal(BlockErrorKind.Invalid, error.Kind);
        var kept = new byte[Cluster];
        await view.ReadAsync(0, kept, Token);
        Assert.Equal(_frozen[..Cluster], kept);
        await view.ReadAsync(3 * Cluster, kept, Token);
        Assert.Equal(_frozen[(3 * Cluster)..(4 * Cluster)], kept);
        await view.DisposeAsync();
        await filter.DisposeAsync();
    }

    [Fact]
    public async Task What_was_discarded_while_it_was_saved_is_not_tried_again()
    {
        var hold = new TaskCompletionSource();
        var bad = new FaultNode("bad", new MemoryNode("file", new byte[Length]))
        {
            Hold = hold.Task,
            WriteFailurePercent = 100,
        };
        var options = new CopyBeforeWriteOptions { OnError = CopyBeforeWritePolicy.BreakGuestWrite };
        var filter = new CopyBeforeWriteFilter("filter", _disk, bad, options);
        var view = new SnapshotAccessNode("view", filter);
        var write = filter.WriteAsync(0, new byte[512], cancellationToken: Token).AsTask();
        var discard = view.DiscardAsync(0, Cluster, Token).AsTask();
        Assert.False(write.IsCompleted || discard.IsCompleted);
        hold.SetResult();
        await Assert.ThrowsAsync<BlockException>(() => write);
        await Assert.ThrowsAsync<BlockException>(() => discard);
        Assert.Equal(Length - Cluster, filter.Copy.BytesRemaining);
        await filter.WriteAsync(0, new byte[512], cancellationToken: Token);
        await view.DisposeAsync();
        await filter.DisposeAsync();
    }

    [Fact]
    public async Task A_scratch_that_hangs_holds_the_guest_no_longer_than_the_timeout()
    {
        var hold = new TaskCompletionSource();
        var slow = new FaultNode("slow", new MemoryNode("scratch", new byte[Length])) { Hold = hold.Task };
        var options = new CopyBeforeWriteOptions { Timeout = TimeSpan.FromMilliseconds(30) };
        var filter = new CopyBeforeWriteFilter("filter", _disk, slow, options);
        await filter.WriteAsync(0, new byte[512], cancellationToken: Token);
        Assert.Contains("0.03 s", filter.SnapshotError!.Message);
        Assert.Equal(new byte[512], _disk.Content[..512]);
        hold.SetResult();
        await filter.DisposeAsync();
    }

    [Fact]
    public Task On_many_threads_the_view_stays_what_it_was() => TestSeed.RunAsync(async random =>
    {
        using var guest = _graph.CreateBackend(_disk, "guest");
        var overlay = new MemoryOverlay("scratch", _disk);
        var filter = new CopyBeforeWriteFilter(
            "filter", _disk, overlay, new() { Copy = new BlockCopyOptions { MinimumClusterSize = 4096 } });
        using (await _graph.DrainAsync(Token))
        {
            filter.Install();
        }

        var seeds = Enumerable.Range(0, 4).Select(_ => random.Next()).ToArray();
        await Task.WhenAll(seeds.Select((seed, index) => Task.Run(
            async () =>
            {
                var own = new Random(seed);
                for (var turn = 0; turn < 300; turn++)
                {
                    var offset = own.Next(Length);
                    var data = new byte[1 + own.Next(Math.Min(20_000, Length - offset))];
                    if (index < 2)
                    {
                        own.NextBytes(data);
                        await guest.WriteAsync(offset, data, cancellationToken: Token);
                    }
                    else
                    {
                        await overlay.ReadAsync(offset, data, Token);
                        Assert.True(data.AsSpan().SequenceEqual(_frozen.AsSpan(offset, data.Length)));
                    }
                }
            },
            Token)));
        Assert.Equal(_frozen, await ReadAsync(overlay));
        filter.Stop();
        filter.Uninstall();
        await filter.DisposeAsync();
        await overlay.DisposeAsync();
    });

    private static async Task<byte[]> ReadAsync(BlockNode node)
    {
        var target = new byte[Length];
        await node.ReadAsync(0, target, Token);
        return target;
    }
}
