using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Graph;
using Tidemark.Blocks.Nodes;
using Tidemark.Testing;

namespace Tidemark.Blocks.Tests.Bitmaps;

public sealed class BitmapActionTests : IAsyncDisposable
{
    private const long Length = 1 << 20;

    private readonly BlockGraph _graph = new();
    private readonly MemoryNode _a = new("a", new byte[Length]);
    private readonly MemoryNode _b = new("b", new byte[Length]);

    public BitmapActionTests()
    {
        _graph.Add(_a);
        _graph.Add(_b);
    }

    public ValueTask DisposeAsync() => _graph.DisposeAsync();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Add_then_merge_in_one_transaction_sees_the_new_bitmap()
    {
        var source = AddBitmap(_b, "c");
        source.Set(0, 1);
        source.Set(500_000, 100_000);
        await RunAsync(
            new BitmapAddAction(_graph, "a", "t") { Disabled = true },
            new BitmapMergeAction(_graph, "a", "t", [("b", "c")]));
        var merged = _a.Bitmaps.Find("t")!;
        Assert.Equal(source.CopyWords(), merged.CopyWords());
        Assert.False(merged.IsRecording);
        Assert.False(merged.IsPersistent);
    }

    [Fact]
    public async Task Whatever_was_prepared_is_undone_when_a_later_action_fails()
    {
        var kept = AddBitmap(_a, "kept");
        kept.Set(0, 4096);
        var merged = AddBitmap(_a, "merged");
        merged.Set(300_000, 1);
        var before = merged.CopyWords();
        var clean = AddBitmap(_a, "clean");
        clean.Set(700_000, 5000);
        var disabled = AddBitmap(_a, "disabled");
        await FailsAsync(
            "Dirty bitmap 'missing' not found",
            new BitmapAddAction(_graph, "a", "new"),
            new BitmapRemoveAction(_graph, "a", "kept"),
            new BitmapMergeAction(_graph, "a", "merged", [("a", "clean")]),
            new BitmapClearAction(_graph, "a", "clean"),
            new BitmapEnableAction(_graph, "a", "disabled", enable: false),
            new BitmapEnableAction(_graph, "a", "missing", enable: true));
        Assert.Equal([kept, merged, clean, disabled], _a.Bitmaps);
        Assert.False(kept.IsBusy);
        Assert.Equal(65536, kept.DirtyBytes);
        Assert.Equal(before, merged.CopyWords());
        Assert.True(clean.Get(700_000));
        Assert.True(disabled.IsRecording);
    }

    [Fact]
    public async Task A_removed_bitmap_is_busy_for_the_rest_of_its_transaction()
    {
        AddBitmap(_a, "x");
        const string Busy = "Bitmap 'x' is currently in use by another operation and cannot be used";
        await FailsAsync(
            Busy, new BitmapRemoveAction(_graph, "a", "x"), new BitmapClearAction(_graph, "a", "x"));
        await FailsAsync(
            "Bitmap already exists: x",
            new BitmapRemoveAction(_graph, "a", "x"),
            new BitmapAddAction(_graph, "a", "x"));
        await RunAsync(new BitmapRemoveAction(_graph, "a", "x"));
        Assert.Empty(_a.Bitmaps);
    }

    [Fact]
    public async Task An_inconsistent_bitmap_can_only_be_removed()
    {
        _a.Bitmaps.Add(new DirtyBitmap("x", Length) { IsInconsistent = true });
        AddBitmap(_a, "y");
        const string Inconsistent = "Bitmap 'x' is inconsistent and cannot be used";
        await FailsAsync(Inconsistent, new BitmapClearAction(_graph, "a", "x"));
        await FailsAsync(Inconsistent, new BitmapEnableAction(_graph, "a", "x", enable: true));
        await FailsAsync(Inconsistent, new BitmapMergeAction(_graph, "a", "y", [("a", "x")]));
        await FailsAsync(Inconsistent, new BitmapMergeAction(_graph, "a", "x", [("a", "y")]));
        await RunAsync(new BitmapRemoveAction(_graph, "a", "x"));
        Assert.Single(_a.Bitmaps);
    }

    [Fact]
    public async Task A_busy_bitmap_is_neither_changed_nor_read()
    {
        AddBitmap(_a, "x").IsBusy = true;
        AddBitmap(_a, "y");
        const string Busy = "Bitmap 'x' is currently in use by another operation and cannot be used";
        await FailsAsync(Busy, new BitmapRemoveAction(_graph, "a", "x"));
        await FailsAsync(Busy, new BitmapMergeAction(_graph, "a", "y", [("a", "x")]));
        await FailsAsync(Busy, new BitmapMergeAction(_graph, "a", "x", [("a", "y")]));
        await FailsAsync(Busy, new BitmapEnableAction(_graph, "a", "x", enable: false));
        Assert.True(_a.Bitmaps.Find("x")!.IsRecording);
    }

    [Theory]
    [InlineData("", null, false, "Bitmap name cannot be empty")]
    [InlineData("x", 1000L, false, "Granularity must be power of 2 and at least 512")]
    [InlineData("x", 256L, false, "Granularity must be power of 2 and at least 512")]
    [InlineData("x", null, true, "Can't store persistent bitmaps to a: Operation not supported")]
    public async Task Add_refuses_as_qemu_does(string name, long? granularity, bool persistent, string message)
    {
        await FailsAsync(
            message, new BitmapAddAction(_graph, "a", name) { Granularity = granularity, Persistent = persistent });
        Assert.Empty(_a.Bitmaps);
    }

    [Fact]
    public async Task Unknown_nodes_and_bitmaps_are_named()
    {
        AddBitmap(_a, "x");
        await FailsAsync("Cannot find device='q' nor node-name='q'", new BitmapAddAction(_graph, "q", "x"));
        await FailsAsync("Node 'q' not found", new BitmapClearAction(_graph, "q", "x"));
        await FailsAsync("Dirty bitmap 'z' not found", new BitmapClearAction(_graph, "a", "z"));
        await FailsAsync("Node 'q' not found", new BitmapMergeAction(_graph, "a", "x", [("q", "x")]));
        await FailsAsync("Dirty bitmap 'z' not found", new BitmapMergeAction(_graph, "a", "x", [("a", "z")]));
    }

    [Fact]
    public async Task Merging_different_sizes_is_refused_and_leaves_the_target()
    {
        var small = new MemoryNode("small", new byte[4096]);
        _graph.Add(small);
        AddBitmap(small, "s").Set(0, 4096);
        var target = AddBitmap(_a, "t");
        await FailsAsync(
            $"Bitmaps are of different sizes (destination size is {Length}, source size is 4096) and can't be merged",
            new BitmapMergeAction(_graph, "a", "t", [("small", "s")]));
        Assert.Equal(0, target.DirtyGranules);
    }

    [Fact]
    public async Task A_stored_bitmap_is_removed_from_the_image_and_survives_an_abort_in_memory()
    {
        var node = new StoringNode("s");
        _graph.Add(node);
        await RunAsync(new BitmapAddAction(_graph, "s", "p") { Persistent = true });
        var bitmap = node.Bitmaps.Find("p")!;
        bitmap.Set(0, 1);
        await FailsAsync(
            "Dirty bitmap 'z' not found",
            new BitmapRemoveAction(_graph, "s", "p"),
            new BitmapClearAction(_graph, "s", "z"));
        Assert.Same(bitmap, node.Bitmaps.Find("p"));
        Assert.True(bitmap is { IsPersistent: true, IsRecording: true, IsBusy: false, DirtyGranules: 1 });

        node.FailRemoval = true;
        await FailsAsync("the image is broken", new BitmapRemoveAction(_graph, "s", "p"));
        Assert.Same(bitmap, node.Bitmaps.Find("p"));
        Assert.False(bitmap.IsBusy);

        node.FailRemoval = false;
        await RunAsync(new BitmapRemoveAction(_graph, "s", "p"));
        Assert.Empty(node.Bitmaps);
        Assert.Equal(["p", "p"], node.Removed);
    }

    [Fact]
    public async Task The_bitmaps_of_a_read_only_image_are_not_changed()
    {
        var node = new StoringNode("s") { ReadOnly = true };
        _graph.Add(node);
        node.Bitmaps.Add(new DirtyBitmap("p", node.Length) { IsPersistent = true });
        await FailsAsync("Bitmap 'p' is readonly and cannot be modified", new BitmapRemoveAction(_graph, "s", "p"));
        await FailsAsync("Bitmap 'p' is readonly and cannot be modified", new BitmapClearAction(_graph, "s", "p"));
        AddBitmap(_a, "x");
        await RunAsync(new BitmapEnableAction(_graph, "s", "p", enable: false));
        Assert.False(node.Bitmaps.Find("p")!.IsRecording);
    }

    private static DirtyBitmap AddBitmap(BlockNode node, string name)
    {
        var bitmap = new DirtyBitmap(name, node.Length);
        node.Bitmaps.Add(bitmap);
        return bitmap;
    }

    private Task RunAsync(params GraphAction[] actions)
    {
        var transaction = new GraphTransaction(_graph);
        foreach (var action in actions)
        {
            transaction.Add(action);
        }

        return transaction.RunAsync(Token);
    }

    private async Task FailsAsync(string message, params GraphAction[] actions) =>
        Assert.Equal(message, (await Assert.ThrowsAsync<BlockException>(() => RunAsync(actions))).Message);

    private sealed class StoringNode(string name) : BlockNode(name)
    {
        public List<string> Removed { get; } = [];

        public bool FailRemoval { get; set; }

        public bool ReadOnly { get; init; }

        public override string Driver => "storing";

        public override long Length => 1 << 20;

        public override bool IsReadOnly => ReadOnly;

        public override bool CanStorePersistentBitmap(string bitmapName, long granularity, out string reason)
        {
            reason = "";
            return true;
        }

        public override ValueTask RemoveStoredBitmapAsync(string bitmapName, CancellationToken cancellationToken)
        {
            if (FailRemoval)
            {
                throw new BlockException(BlockErrorKind.Io, "the image is broken");
            }

            Removed.Add(bitmapName);
            return default;
        }

        public override ValueTask DisposeAsync() => default;

        protected override ValueTask ReadCoreAsync(
            long offset, Memory<byte> target, CancellationToken cancellationToken) => default;
    }
}
