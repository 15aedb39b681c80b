using System.Text.Json.Nodes;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Domains;
using Tidemark.Testing;

namespace Tidemark.Backup.Tests.Domains;

/// <summary>Checkpoints through snapshots, commits, pulls and copies: every written granule stays named.</summary>
[Trait("Category", "Interop")]
public sealed class DomainChangeTests
{
    private const long Granule = 65536;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private static Action<long, long> Quiet => static (_, _) => { };

    [Theory]
    [InlineData(true, false)]
    [InlineData(false, false)]
    [InlineData(true, true)]
    [InlineData(false, true)]
    public async Task An_active_commit_keeps_every_bit(bool pivots, bool embedded)
    {
        await using var scene = await ChainAsync(embedded);
        await scene.Changes.CommitAsync(
            new BlockChange { Disk = "vda", IsActive = true, Pivots = pivots }, Quiet, Token);
        Assert.Equal("c1:Valid c2:Valid*", await scene.ListAsync());
        await scene.Daemon.WriteAsync("vda", "write -P 9 5M 64k");
        Assert.Equal(5 * Granule, await scene.SizeAsync("c1"));
        Assert.InRange((await scene.SizeAsync("c2"))!.Value, 3 * Granule, 5 * Granule);
        await ContentAsync(scene);
        var disks = await scene.Service.ListDisksAsync(Token);
        Assert.Equal(("vda", pivots ? "vda" : disks[0].Node.Name), (disks[0].Name, disks[0].Node.Name));
        Assert.Equal(pivots, disks[0].Node.Filename == scene.Daemon.DiskPath("vda"));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_commit_below_the_active_layer_keeps_every_bit(bool embedded)
    {
        await using var scene = await ChainAsync(embedded);
        var top = (await scene.Service.ListDisksAsync(Token))[0].Node;
        await scene.Changes.CommitAsync(
            new BlockChange { Disk = "vda", Top = scene.File("vda.s1"), Base = scene.Daemon.DiskPath("vda") },
            Quiet,
            Token);
        Assert.Equal("c1:Valid c2:Valid*", await scene.ListAsync());
        Assert.Equal(4 * Granule, await scene.SizeAsync("c1"));
        Assert.InRange((await scene.SizeAsync("c2"))!.Value, 2 * Granule, 4 * Granule);
        Assert.Equal(top.Name, (await scene.Service.ListDisksAsync(Token))[0].Node.Name);
        await ContentAsync(scene);
    }

    /// <summary>A raw layer has no bitmaps: what the layers above it recorded would be gone with them, and the
    /// checkpoint would be valid all the same.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_commit_into_a_raw_layer_keeps_every_bit(bool embedded)
    {
        await using var scene = await DomainScene.StartAsync(embedded, nbd: true, "vda");
        await scene.Checkpoints.CreateAsync(new CheckpointDefinition { Name = "c0" }, null, Token);
        await scene.Changes.CopyAsync(
            new BlockChange { Disk = "vda", Destination = scene.File("raw"), Format = "raw", Pivots = true },
            Quiet,
            Token);
        Assert.Contains(scene.Notes, note => note.Contains("what c0 has recorded", StringComparison.Ordinal));
        await scene.Checkpoints.DeleteAsync("c0", false, false, true, Token);
        await scene.Changes.SnapshotAsync("s1", [new SnapshotDisk("vda", true, scene.File("s1"))], false, Token);
        await scene.Checkpoints.CreateAsync(new CheckpointDefinition { Name = "c1" }, null, Token);
        await scene.Daemon.WriteAsync("vda", "write -P 1 1M 64k");
        await scene.Changes.SnapshotAsync("s2", [new SnapshotDisk("vda", true, scene.File("s2"))], false, Token);
        await scene.Daemon.WriteAsync("vda", "write -P 2 2M 64k");
        await scene.Changes.CommitAsync(
            new BlockChange { Disk = "vda", Top = scene.File("s1"), Base = scene.File("raw") }, Quiet, Token);
        Assert.Equal("c1:Valid*", await scene.ListAsync());
        Assert.Equal(2 * Granule, await scene.SizeAsync("c1"));
        Assert.Equal(2 * Granule, (await scene.RunAsync(scene.Push("inc", "c1"))).DoneBytes);
        await scene.Daemon.WriteAsync("vda", "read -P 1 1M 64k");
        await scene.Daemon.WriteAsync("vda", "read -P 2 2M 64k");
    }

    /// <summary>On top of the chain such a bitmap would be believed.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task An_overlay_that_brings_a_bitmap_along_is_refused(bool embedded)
    {
        await using var scene = await DomainScene.StartAsync(embedded, nbd: true, "vda");
        await Tool.RunOkAsync(
            "qemu-img", "create", "-q", "-f", "qcow2", "-u", "-F", "qcow2", "-b", scene.Daemon.DiskPath("vda"),
            scene.File("over"), "8M");
        await Tool.RunOkAsync("qemu-img", "bitmap", "--add", scene.File("over"), "c1");
        SnapshotDisk[] disks = [new("vda", true, scene.File("over"))];
        var error = await Assert.ThrowsAsync<BackupException>(
            () => scene.Changes.SnapshotAsync("s1", disks, reuseExternal: true, Token));
        Assert.Contains("holds bitmap 'c1' already", error.Message, StringComparison.Ordinal);
        Assert.Empty(error.UndoErrors);
        Assert.Equal("vda", (await scene.Service.ListDisksAsync(Token))[0].Node.Name);
        await scene.NothingIsLeftAsync();
        await Tool.RunOkAsync("qemu-img", "bitmap", "--remove", scene.File("over"), "c1");
        await scene.Changes.SnapshotAsync("s1", disks, reuseExternal: true, Token);
        Assert.Equal(scene.File("over"), (await scene.Service.ListDisksAsync(Token))[0].Node.Filename);
    }

    /// <summary>A smaller one would cut the guest's disk off; one without a backing file would be the whole disk from
    /// the next start on.</summary>
    [Theory]
    [InlineData("ours", "4M", true, "4194304 bytes, and disk 'vda' has 8388608")]
    [InlineData("11.1", "16M", true, "16777216 bytes, and disk 'vda' has 8388608")]
    [InlineData("5.2", "8M", false, "names no backing file")]
    [InlineData("11.1", "8M", false, "names no backing file")]
    [InlineData("ours", "8M", false, "names no backing file")]
    public async Task An_overlay_that_is_none_of_the_disk_is_refused(
        string version, string size, bool isOver, string message)
    {
        await using var scene = await StartAsync(version);
        string[] below = isOver ? ["-u", "-F", "qcow2", "-b", scene.Daemon.DiskPath("vda")] : [];
        await Tool.RunOkAsync(
            "qemu-img", ["create", "-q", "-f", "qcow2", .. below, scene.File("over"), size]);
        SnapshotDisk[] disks = [new("vda", true, scene.File("over"))];
        var error = await Assert.ThrowsAsync<BackupException>(
            () => scene.Changes.SnapshotAsync("s1", disks, reuseExternal: true, Token));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
        Assert.Empty(error.UndoErrors);
        Assert.Equal(
            ("vda", 8L << 20),
            (await scene.Service.ListDisksAsync(Token)) is [var disk]
                ? (disk.Node.Name, disk.Node.VirtualSize) : default);
        await scene.NothingIsLeftAsync();

        var elsewhere = scene.File("elsewhere.qcow2");
        await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "qcow2", scene.File("over"), "8M");
        await Tool.RunOkAsync(
            "qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", elsewhere, scene.File("over"));
        await scene.Changes.SnapshotAsync("s1", disks, reuseExternal: true, Token);
        Assert.Contains(scene.Notes, note => note.Contains($"names '{elsewhere}'", StringComparison.Ordinal));
    }

    /// <summary>Under a whole copy it would show through where the disk is zero, which QEMU 11.1 leaves out; without
    /// it a shallow one would be half a disk.</summary>
    [Theory]
    [InlineData("ours")]
    [InlineData("11.1")]
    public async Task A_copy_into_an_image_with_the_wrong_backing_file_is_refused(string version)
    {
        await using var scene = await StartAsync(version);
        await scene.Daemon.WriteAsync("vda", "write -q -P 7 0 1M");
        await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "qcow2", scene.File("other"), "8M");
        await Tool.RunOkAsync("qemu-io", "-c", "write -q -P 9 0 8M", scene.File("other"));
        await Tool.RunOkAsync(
            "qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", scene.File("other"), scene.File("to"));
        var copy = new BlockChange { Disk = "vda", Destination = scene.File("to"), ReusesExternal = true };
        Assert.Contains("would show through", await RefusedAsync(copy), StringComparison.Ordinal);
        await Tool.RunOkAsync("qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-b", "", scene.File("to"));
        await scene.Changes.CopyAsync(copy, static (_, _) => { }, Token);
        await Tool.RunOkAsync("qemu-io", "-r", "-c", "read -q -P 7 0 1M", "-c", "read -q -P 0 1M 7M", scene.File("to"));
        await scene.NothingIsLeftAsync();

        await scene.Changes.SnapshotAsync("s1", [new("vda", true, scene.File("over"))], false, Token);
        Assert.Contains(
            "names no backing file", await RefusedAsync(copy with { IsShallow = true }), StringComparison.Ordinal);

        async Task<string> RefusedAsync(BlockChange change)
        {
            var error = await Assert.ThrowsAsync<BackupException>(
                () => scene.Changes.CopyAsync(change, static (_, _) => { }, Token));
            Assert.Empty(error.UndoErrors);
            return error.Message;
        }
    }

    /// <summary>A layer in the middle lacks a checkpoint's bitmap, so the checkpoint is broken. A pull would take the
    /// layer away, and with it what shows that. A commit into a base that has the bitmap marks there what it
    /// writes.</summary>
    [Theory]
    [InlineData("ours")]
    [InlineData("5.2")]
    [InlineData("7.2")]
    [InlineData("10.0")]
    [InlineData("11.1")]
    public async Task A_broken_checkpoint_does_not_come_to_look_valid(string version)
    {
        await using var scene = await StartAsync(version);
        async Task ActiveAsync(string command, bool? persistent)
        {
            JsonObject arguments = new()
            {
                ["node"] = (await scene.Service.ListDisksAsync(Token))[0].Node.Name, ["name"] = "c1",
            };
            if (persistent is { } value)
            {
                arguments["persistent"] = value;
            }

            await scene.Daemon.ExecuteAsync(command, arguments);
        }

        await scene.Checkpoints.CreateAsync(new CheckpointDefinition { Name = "c1" }, null, Token);
        await scene.Daemon.WriteAsync("vda", "write -P 1 1M 64k");
        await scene.Changes.SnapshotAsync("s1", [], false, Token);
        await ActiveAsync("block-dirty-bitmap-remove", null);
        await scene.Daemon.WriteAsync("vda", "write -P 2 2M 64k");
        await scene.Changes.SnapshotAsync("s2", [], false, Token);
        await ActiveAsync("block-dirty-bitmap-add", true);
        await scene.Daemon.WriteAsync("vda", "write -P 3 3M 64k");
        await scene.Daemon.WriteAsync("vda", "write -P 4 4M 64k");
        Assert.Equal("c1:Broken*", await scene.ListAsync());
        var error = await Assert.ThrowsAsync<BackupException>(
            () => scene.Changes.PullAsync(new BlockChange { Disk = "vda" }, Quiet, Token));
        Assert.Contains("bitmap 'c1' has missed writes", error.Message, StringComparison.Ordinal);
        Assert.Equal("c1:Broken*", await scene.ListAsync());

        await scene.Changes.CommitAsync(
            new BlockChange { Disk = "vda", Top = scene.File("vda.s1"), Base = scene.Daemon.DiskPath("vda") },
            Quiet,
            Token);
        Assert.Equal("c1:Valid*", await scene.ListAsync());
        Assert.Equal(4 * Granule, await scene.SizeAsync("c1"));
        await ContentAsync(scene);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_pull_keeps_every_bit(bool embedded)
    {
        await using var scene = await ChainAsync(embedded);
        await scene.Changes.PullAsync(new BlockChange { Disk = "vda" }, Quiet, Token);
        Assert.Equal("c1:Valid c2:Valid*", await scene.ListAsync());
        Assert.Equal(4 * Granule, await scene.SizeAsync("c1"));
        Assert.Equal(2 * Granule, await scene.SizeAsync("c2"));
        var disk = (await scene.Service.ListDisksAsync(Token))[0];
        Assert.Null(disk.Node.BackingNode);
        await ContentAsync(scene);
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(true, true)]
    public async Task A_copy_keeps_every_bit(bool shallow, bool embedded)
    {
        await using var scene = await ChainAsync(embedded);
        await scene.Changes.CopyAsync(
            new BlockChange { Disk = "vda", Destination = scene.File("copy"), Pivots = true, IsShallow = shallow },
            Quiet,
            Token);
        Assert.Equal("c1:Valid c2:Valid*", await scene.ListAsync());
        await scene.Daemon.WriteAsync("vda", "write -P 9 5M 64k");
        Assert.Equal(5 * Granule, await scene.SizeAsync("c1"));
        Assert.InRange((await scene.SizeAsync("c2"))!.Value, 3 * Granule, 5 * Granule);
        var disk = (await scene.Service.ListDisksAsync(Token))[0];
        Assert.Equal(("vda", scene.File("copy")), (disk.Name, disk.Node.Filename));
        await ContentAsync(scene);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task An_increment_across_snapshots_has_what_was_written_in_every_layer(bool embedded)
    {
        await using var scene = await ChainAsync(embedded);
        var job = await scene.RunAsync(scene.Push("inc", "c1"));
        Assert.Equal(4 * Granule, job.DoneBytes);
        await Tool.RunOkAsync(
            "qemu-io", "-r", "-c", "read -P 1 1M 64k", "-c", "read -P 2 2M 64k", "-c", "read -P 3 3M 64k",
            "-c", "read -P 4 4M 64k", scene.File("inc"));
        await scene.Checkpoints.DeleteAsync("c1", false, false, false, Token);
        Assert.Equal("c2:Valid*", await scene.ListAsync());
        Assert.DoesNotContain(await scene.Daemon.BitmapsAsync(), bitmap => bitmap.Name == "c1");
    }

    /// <summary>After a restart the layers are open read-only: a bitmap of theirs goes, and they are committed, all the
    /// same.</summary>
    [Theory]
    [InlineData("ours", false, true)]
    [InlineData("ours", false, false)]
    [InlineData("ours", true, true)]
    [InlineData("7.2", true, true)]
    [InlineData("7.2", false, false)]
    [InlineData("11.1", true, true)]
    [InlineData("11.1", false, false)]
    public async Task Layers_that_were_opened_read_only_are_changed_as_others(
        string version, bool areNamed, bool deletes)
    {
        await using var scene = await ChainAsync(version);
        await RestartAsync(scene, areNamed);
        Assert.Equal("c1:Valid c2:Valid*", await scene.ListAsync());
        if (deletes)
        {
            await scene.Checkpoints.DeleteAsync("c1", false, false, false, Token);
            Assert.Equal("c2:Valid*", await scene.ListAsync());
            Assert.DoesNotContain(await scene.Daemon.BitmapsAsync(), bitmap => bitmap.Name == "c1");
        }
        else
        {
            await scene.Changes.CommitAsync(
                new BlockChange { Disk = "vda", Top = scene.File("vda.s1"), Base = scene.Daemon.DiskPath("vda") },
                Quiet,
                Token);
            Assert.Equal("c1:Valid c2:Valid*", await scene.ListAsync());
            Assert.Equal(4 * Granule, await scene.SizeAsync("c1"));
        }

        // In the images themselves, too: what is valid now is so after another restart.
        await ContentAsync(scene);
        Assert.InRange((await scene.SizeAsync("c2"))!.Value, 2 * Granule, 4 * Granule);
        await RestartAsync(scene, areNamed);
        Assert.Equal(deletes ? "c2:Valid*" : "c1:Valid c2:Valid*", await scene.ListAsync());
        await ContentAsync(scene);
        Assert.InRange((await scene.RunAsync(scene.Push("inc", "c2"))).DoneBytes, 2 * Granule, 4 * Granule);
        await scene.Daemon.QuitAsync();
        await Tool.RunOkAsync("qemu-img", "check", "-q", scene.File("vda.s2"));
        await Tool.RunOkAsync("qemu-img", "check", "-q", scene.Daemon.DiskPath("vda"));
    }

    /// <summary>QEMU does not reopen a node that it has named itself.</summary>
    [Theory]
    [InlineData("7.2")]
    [InlineData("11.1")]
    public async Task A_layer_without_a_name_of_its_own_keeps_its_bitmaps_while_qemu_runs(string version)
    {
        await using var scene = await ChainAsync(version);
        await RestartAsync(scene, areNamed: false);
        var error = await Assert.ThrowsAsync<BackupException>(
            () => scene.Checkpoints.DeleteAsync("c1", false, false, false, Token));
        Assert.Contains("while the domain is off", error.Message, StringComparison.Ordinal);
        Assert.Contains(scene.File("vda.s1"), error.Message, StringComparison.Ordinal);
        Assert.Equal("c1:Valid c2:Valid*", await scene.ListAsync());
        Assert.Equal(4 * Granule, (await scene.RunAsync(scene.Push("inc", "c1"))).DoneBytes);
    }

    private static Task<DomainScene> StartAsync(string version) => version is "ours" or "installed"
        ? DomainScene.StartAsync(version == "ours", nbd: true, "vda")
        : DomainScene.StartAsync(QemuVersions.Need(version), "8M", "vda");

    // c1, write 1, s1, write 2, c2, write 3, s2, write 4.
    private static Task<DomainScene> ChainAsync(bool embedded) => ChainAsync(embedded ? "ours" : "installed");

    private static async Task<DomainScene> ChainAsync(string version)
    {
        var scene = await StartAsync(version);
        await scene.Checkpoints.CreateAsync(new CheckpointDefinition { Name = "c1" }, null, Token);
        await scene.Daemon.WriteAsync("vda", "write -P 1 1M 64k");
        await scene.Changes.SnapshotAsync("s1", [], false, Token);
        await scene.Daemon.WriteAsync("vda", "write -P 2 2M 64k");
        await scene.Checkpoints.CreateAsync(new CheckpointDefinition { Name = "c2" }, null, Token);
        await scene.Daemon.WriteAsync("vda", "write -P 3 3M 64k");
        await scene.Changes.SnapshotAsync("s2", [], false, Token);
        await scene.Daemon.WriteAsync("vda", "write -P 4 4M 64k");
        return scene;
    }

    private static async Task RestartAsync(DomainScene scene, bool areNamed)
    {
        await scene.Daemon.QuitAsync();
        scene.Daemon.Tops["vda"] = scene.File("vda.s2");
        if (areNamed)
        {
            scene.Daemon.NamedLayers["vda"] = [scene.Daemon.DiskPath("vda"), scene.File("vda.s1")];
        }

        await scene.Daemon.StartAsync();
    }

    private static async Task ContentAsync(DomainScene scene)
    {
        await scene.Daemon.WriteAsync("vda", "read -P 1 1M 64k");
        await scene.Daemon.WriteAsync("vda", "read -P 2 2M 64k");
        await scene.Daemon.WriteAsync("vda", "read -P 3 3M 64k");
        await scene.Daemon.WriteAsync("vda", "read -P 4 4M 64k");
    }
}
