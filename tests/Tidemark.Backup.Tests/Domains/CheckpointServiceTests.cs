using System.Text.Json.Nodes;
using Tidemark.Backup.Checkpoints;
using Tidemark.Backup.Definitions;

namespace Tidemark.Backup.Tests.Domains;

/// <summary>Definitions beside what the images really hold: redefined, validated, several roots, granularities, and
/// bitmaps that are no checkpoint's.</summary>
[Trait("Category", "Interop")]
public sealed class CheckpointServiceTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_lost_definition_is_redefined_and_its_bitmap_is_believed_only_if_it_can_be(bool embedded)
    {
        await using var scene = await DomainScene.StartAsync(embedded, nbd: true, "vda");
        await scene.Checkpoints.CreateAsync(new CheckpointDefinition { Name = "c1" }, null, Token);
        await scene.Daemon.WriteAsync("vda", "write -P 1 1M 64k");
        await scene.Checkpoints.DeleteAsync("c1", false, false, onlyMetadata: true, Token);
        Assert.Equal("c1 Orphaned", await OthersAsync(scene));

        await scene.Checkpoints.RedefineAsync(Definition("c1"), validate: true, Token);
        Assert.Equal("c1:Valid*", await scene.ListAsync());
        Assert.Equal("", await OthersAsync(scene));
        Assert.Equal(65536, await scene.SizeAsync("c1"));
        Assert.Equal(65536, (await scene.RunAsync(scene.Push("inc", "c1"))).DoneBytes);

        // A ghost: nothing of it is on the disk. libvirt takes it too, unless it is asked to validate.
        var ghost = Definition("ghost", parent: "c1");
        await RefusedAsync(scene, ghost, "missing or broken bitmap 'ghost'", validate: true);
        await scene.Checkpoints.RedefineAsync(ghost, validate: false, Token);
        Assert.Equal("c1:Valid ghost:Missing*", await scene.ListAsync());
        var refused = await Assert.ThrowsAsync<BackupException>(
            () => scene.Service.BeginAsync(scene.Push("ghosts", "ghost"), Token));
        Assert.Contains("ghost", refused.Message, StringComparison.Ordinal);
        Assert.False(File.Exists(scene.File("ghosts")));
        await scene.Checkpoints.DeleteAsync("ghost", false, false, false, Token);
        Assert.Equal("c1:Valid*", await scene.ListAsync());
    }

    [Fact]
    public async Task A_redefinition_that_contradicts_the_others_is_refused()
    {
        await using var scene = await DomainScene.StartAsync(embedded: true, nbd: true, "vda");
        await scene.Checkpoints.CreateAsync(new CheckpointDefinition { Name = "c1" }, null, Token);
        await scene.Checkpoints.CreateAsync(new CheckpointDefinition { Name = "c2" }, null, Token);
        await RefusedAsync(scene, Definition("c3", parent: "none"), "parent none for moment c3 not found");
        await RefusedAsync(scene, Definition("c1", parent: "c1"), "own parent");
        await RefusedAsync(scene, Definition("c1", parent: "c2"), "would create cycle to c1");
        await RefusedAsync(scene, Definition("c3") with { CreationTime = null }, "missing creationTime");
        await RefusedAsync(scene, Definition("c3") with { Name = null }, "must have a name");
        Assert.Equal("c1:Valid c2:Valid*", await scene.ListAsync());
    }

    [Fact]
    public async Task Several_roots_stand_beside_each_other()
    {
        await using var scene = await DomainScene.StartAsync(embedded: true, nbd: true, "vda");
        foreach (var name in (string[])["a", "b", "c"])
        {
            await scene.Checkpoints.CreateAsync(new CheckpointDefinition { Name = name }, null, Token);
        }

        // 'b' comes back without a parent, as a second root; 'c' hung on 'a' meanwhile and stays there.
        await scene.Checkpoints.DeleteAsync("b", false, false, onlyMetadata: true, Token);
        await scene.Checkpoints.RedefineAsync(Definition("b"), validate: true, Token);
        var (tree, review) = await scene.Checkpoints.ListAsync(Token);
        Assert.Equal(["a", "b"], tree.Roots.Select(one => one.Name!).Order());
        Assert.Equal("a", tree.Get("c").Parent);
        Assert.Equal(["c"], tree.DescendantsOf("a").Select(one => one.Name));
        Assert.Empty(tree.DescendantsOf("b"));
        Assert.All(tree.All, one => Assert.Equal(BitmapStanding.Valid, review.StandingOf(one.Name!)));
        var gone = await scene.Checkpoints.DeleteAsync("a", true, false, false, Token);
        Assert.Equal(["a", "c"], gone.Order());
        Assert.StartsWith("b:Valid", await scene.ListAsync());
    }

    [Theory]
    [InlineData(4096L)]
    [InlineData(1L << 20)]
    public async Task The_granularity_is_what_was_asked_for(long granularity)
    {
        await using var scene = await DomainScene.StartAsync(embedded: false, nbd: true, "vda");
        await scene.Checkpoints.CreateAsync(new CheckpointDefinition { Name = "c1" }, granularity, Token);
        await scene.Daemon.WriteAsync("vda", "write -P 1 3M 512");
        Assert.Equal(granularity, await scene.SizeAsync("c1"));

        // The increment's temporary bitmap has it too; the job copies whole clusters.
        await scene.RunAsync(scene.Push("inc", "c1", checkpoint: "c2") with { Granularity = 2 * granularity });
        await scene.Daemon.WriteAsync("vda", "write -P 1 3M 512");
        Assert.Equal(2 * granularity, await scene.SizeAsync("c2"));
    }

    [Theory]
    [InlineData(3000L)]
    [InlineData(256L)]
    [InlineData(1L << 32)]
    public async Task A_granularity_that_cannot_be_is_refused_before_anything_is_done(long granularity)
    {
        await using var scene = await DomainScene.StartAsync(embedded: true, nbd: true, "vda");
        foreach (var doing in (Func<Task>[])
        [
            () => scene.Checkpoints.CreateAsync(new CheckpointDefinition { Name = "c1" }, granularity, Token),
            () => scene.Service.BeginAsync(
                scene.Push("full", checkpoint: "c1") with { Granularity = granularity }, Token),
        ])
        {
            var error = await Assert.ThrowsAsync<BackupException>(doing);
            Assert.Contains("power of two", error.Message, StringComparison.Ordinal);
        }

        Assert.Equal("", await scene.ListAsync());
        Assert.False(File.Exists(scene.File("full")));
        await scene.NothingIsLeftAsync();
    }

    [Fact]
    public async Task Bitmaps_of_others_are_listed_and_never_touched()
    {
        await using var scene = await DomainScene.StartAsync(embedded: false, nbd: true, "vda");
        await scene.Daemon.ExecuteAsync("block-dirty-bitmap-add", new JsonObject
        {
            ["node"] = "vda", ["name"] = "theirs", ["persistent"] = true,
        });
        await scene.Checkpoints.CreateAsync(new CheckpointDefinition { Name = "c1" }, null, Token);
        Assert.Equal("theirs Foreign", await OthersAsync(scene));
        await scene.RunAsync(scene.Push("inc", "c1", checkpoint: "c2"));
        await scene.Checkpoints.DeleteAsync("c1", true, false, false, Token);
        Assert.Equal(["theirs"], (await scene.Daemon.BitmapsAsync()).Select(one => one.Name));
    }

    [Fact]
    public async Task A_crash_leaves_an_inconsistent_checkpoint_that_says_so_and_can_be_deleted()
    {
        await using var scene = await DomainScene.StartAsync(embedded: false, nbd: true, "vda");
        await scene.Checkpoints.CreateAsync(new CheckpointDefinition { Name = "c1" }, null, Token);
        await scene.Daemon.QuitAsync();
        await scene.Daemon.StartAsync();
        await scene.Checkpoints.CreateAsync(new CheckpointDefinition { Name = "c2" }, null, Token);
        await scene.Daemon.WriteAsync("vda", "write -P 1 0 64k");
        await scene.Daemon.KillAsync();
        await scene.Daemon.StartAsync();

        // c1 was in the image, and is marked in use; c2 was never stored.
        Assert.Equal("c1:Inconsistent c2:Missing*", await scene.ListAsync());
        var error = await Assert.ThrowsAsync<BackupException>(
            () => scene.Service.BeginAsync(scene.Push("inc", "c1"), Token));
        Assert.Contains("c1", error.Message, StringComparison.Ordinal);
        await scene.Checkpoints.DeleteAsync("c1", true, false, false, Token);
        Assert.Equal("", await scene.ListAsync());
        Assert.Empty(await scene.Daemon.BitmapsAsync());
    }

    private static async Task<string> OthersAsync(DomainScene scene) => string.Join(
        " ", (await scene.Checkpoints.ListAsync(Token)).Review.Others.Select(one => $"{one.Bitmap} {one.Standing}"));

    private static async Task RefusedAsync(
        DomainScene scene, CheckpointDefinition definition, string words, bool validate = false)
    {
        var error = await Assert.ThrowsAsync<BackupException>(
            () => scene.Checkpoints.RedefineAsync(definition, validate, Token));
        Assert.Contains(words, error.Message, StringComparison.Ordinal);
    }

    private static CheckpointDefinition Definition(string name, string? parent = null) => new()
    {
        Name = name, Parent = parent, CreationTime = 1_700_000_000,
        Disks = [new CheckpointDisk("vda") { HasBitmap = true, Bitmap = name }],
    };
}
