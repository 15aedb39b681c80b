using Tidemark.Backup.Checkpoints;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Domains;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Tests.Rules;
using Tidemark.Testing;

namespace Tidemark.Backup.Tests.Domains;

public sealed class CheckpointStoreTests
{
    [Fact]
    public void What_is_prepared_is_a_checkpoint_only_when_it_is_committed()
    {
        using var folder = new TemporaryDirectory();
        var store = new CheckpointStore(folder.File("checkpoints"));
        store.Prepare(One("a", 1, null));
        Assert.Empty(store.Load().All);
        store.Commit(One("a", 1, null));
        Make(store, One("b", 2, "a"));
        var tree = store.Load();
        Assert.Equal(("b", "a"), (tree.Current, tree.Get("b").Parent));
        Assert.Equal("a said", tree.Get("a").Description);
    }

    [Fact]
    public void A_deleted_one_leaves_its_children_to_its_parent()
    {
        using var folder = new TemporaryDirectory();
        var store = new CheckpointStore(folder.File("checkpoints"));
        Make(store, One("a", 1, null));
        Make(store, One("b", 2, "a"));
        Make(store, One("c", 3, "b"));
        store.Delete("b");
        Assert.Equal(("c", "a"), (store.Load().Current, store.Load().Get("c").Parent));
        store.Delete("c");
        Assert.Equal("a", store.Load().Current);
        store.Delete("a");
        Assert.Null(store.Load().Current);
        Assert.Contains("b", store.EveryName());
    }

    [Fact]
    public void A_current_one_that_was_taken_back_gives_way_to_its_parent()
    {
        using var folder = new TemporaryDirectory();
        var store = new CheckpointStore(folder.File("checkpoints"));
        Make(store, One("a", 1, null));
        Make(store, One("z", 1, null));
        Make(store, One("b", 2, "a"));
        File.Delete(store.PathOf("b"));
        Assert.Equal("a", store.Load().Current);
    }

    [Fact]
    public void A_damaged_definition_is_named()
    {
        using var folder = new TemporaryDirectory();
        var store = new CheckpointStore(folder.File("checkpoints"));
        Make(store, One("a", 1, null));
        File.WriteAllText(store.PathOf("b"), "<domaincheckpoint>");
        var error = Assert.Throws<BackupException>(() => store.Load());
        Assert.Contains("b.xml", error.Message, StringComparison.Ordinal);
        Assert.Throws<BackupException>(() => store.PathOf("../a"));
    }

    [Fact]
    public void Definitions_are_not_believed_without_their_bitmaps()
    {
        var vda = GraphBuilder.Image(
            "vda", "base",
            GraphBuilder.Bitmap("ok"),
            GraphBuilder.Bitmap("torn", inconsistent: true),
            GraphBuilder.Bitmap("off", recording: false),
            GraphBuilder.Bitmap("was"),
            GraphBuilder.Bitmap("theirs"),
            GraphBuilder.Bitmap("tidemark-0123456789abcdef"));
        var graph = new GraphSnapshot(
            [vda, GraphBuilder.Image("base", null, GraphBuilder.Bitmap("gap"))], [], [], []);
        string[] names = ["ok", "torn", "off", "gone", "gap"];
        var tree = new CheckpointTree(names.Select((name, index) => One(name, index, null)), "ok");
        var review = CheckpointReview.Make(
            tree,
            names.Append("was").ToHashSet(),
            graph,
            [new AttachedDisk { Name = "vda", Node = vda, RootNode = "vda" }]);
        Assert.Equal(
            [
                BitmapStanding.Valid, BitmapStanding.Inconsistent, BitmapStanding.Broken, BitmapStanding.Missing,
                BitmapStanding.Broken,
            ],
            names.Select(review.StandingOf));
        Assert.Equal(
            [
                ("was", BitmapStanding.Orphaned), ("theirs", BitmapStanding.Foreign),
                ("tidemark-0123456789abcdef", BitmapStanding.RestorePoint),
            ],
            review.Others.Select(other => (other.Bitmap, other.Standing)));
    }

    [Fact]
    public void A_circle_is_seen_and_ends_no_walk()
    {
        var tree = new CheckpointTree([One("a", 1, "b"), One("b", 2, "a"), One("c", 3, "b")], null);
        Assert.True(tree.WouldCircle("a", "c"));
        Assert.Equal(["b", "c"], tree.DescendantsOf("a").Select(one => one.Name).Order());
        Assert.Empty(tree.Roots);
    }

    private static void Make(CheckpointStore store, CheckpointDefinition definition)
    {
        store.Prepare(definition);
        store.Commit(definition);
    }

    private static CheckpointDefinition One(string name, long time, string? parent) => new()
    {
        Name = name,
        CreationTime = time,
        Parent = parent,
        Description = $"{name} said",
        Disks = [new CheckpointDisk("vda") { HasBitmap = true, Bitmap = name }],
    };
}
