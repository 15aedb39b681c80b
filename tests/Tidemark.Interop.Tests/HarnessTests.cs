using System.Text.Json.Nodes;
using Tidemark.Interop.Tests.Guests;
using Tidemark.Interop.Tests.Hypervisors;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Interop.Tests;

/// <summary>The judge is judged first: the check of an instant accepts an instant and refuses what is none.</summary>
[Trait("Category", "Interop")]
public sealed class HarnessTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(HypervisorKind.QemuStorageDaemon)]
    [InlineData(HypervisorKind.QemuSystem)]
    public async Task Copies_of_two_disks_taken_one_after_the_other_are_no_instant(HypervisorKind kind)
    {
        Scene.SkipUnlessPossible();
        await using var scene = await Scene.CreateAsync(kind, repository: false);
        var stamped = kind != HypervisorKind.QemuSystem;
        scene.Guest.Start(seed: 1, TimeSpan.FromMilliseconds(1));
        await scene.Guest.WriteMoreAsync(stamped ? 600 : 120, Token);
        await scene.Guest.StopAsync();
        await scene.Hypervisor.StopAsync(Token);

        var disks = new byte[2][];
        for (var disk = 0; disk < 2; disk++)
        {
            var raw = Path.Combine(scene.Folder, "copy.raw");
            await Tool.RunOkAsync("qemu-img", "convert", "-O", "raw", scene.Hypervisor.DiskPath(disk), raw);
            disks[disk] = await File.ReadAllBytesAsync(raw, Token);
        }

        var count = scene.Writes.Completed;
        Assert.Equal(count, scene.Writes.CheckInstant(disks, scene.Initial, 0, count));

        // One disk of an earlier time: the later writes to it are missing, those to the other are there.
        byte[][] mixed = [scene.Initial[0], disks[1]];
        Assert.Throws<InvalidDataException>(() => scene.Writes.CheckInstant(mixed, scene.Initial, 0, count));
        // A state from before the backup began, or one with bytes that nobody wrote, is none either.
        Assert.Throws<InvalidDataException>(() => scene.Writes.CheckInstant(scene.Initial, scene.Initial, 1, count));
        disks[1][40 << 20] ^= 1;
        Assert.Throws<InvalidDataException>(() => scene.Writes.CheckInstant(disks, scene.Initial, 0, count));
    }

    [Fact]
    public async Task Leftovers_of_every_kind_are_seen()
    {
        Scene.SkipUnlessPossible();
        await using var scene = await Scene.CreateAsync(HypervisorKind.QemuStorageDaemon, repository: false);
        await scene.AssertNothingLeftAsync();

        using var monitor = await TestMonitor.ConnectAsync(scene.Hypervisor.MonitorPath, Token);
        await monitor.ExecuteAsync("blockdev-add", new JsonObject
        {
            ["driver"] = "null-co", ["node-name"] = "scratch", ["read-zeroes"] = true, ["size"] = Scene.DiskLength,
        }, Token);
        await monitor.ExecuteAsync("block-dirty-bitmap-add", new JsonObject
        {
            ["node"] = "vda", ["name"] = "temporary", ["persistent"] = false,
        }, Token);
        await monitor.ExecuteAsync("block-export-add", new JsonObject
        {
            ["type"] = "nbd", ["id"] = "forgotten", ["node-name"] = "scratch", ["name"] = "forgotten",
        }, Token);
        await monitor.ExecuteAsync("blockdev-backup", new JsonObject
        {
            ["job-id"] = "job0", ["device"] = "vdb", ["target"] = "scratch", ["sync"] = "none",
        }, Token);
        await File.WriteAllTextAsync(Path.Combine(scene.Folder, "scratch.qcow2"), "", Token);

        var left = await scene.Hypervisor.LeftoversAsync(Token);
        string[] expected =
            ["node scratch", "bitmap temporary of vda", "export forgotten", "job job0", "file scratch.qcow2"];
        Assert.Empty(expected.Except(left));
    }

    [Fact]
    public async Task A_guest_that_reads_back_sees_its_writes()
    {
        Scene.SkipUnlessPossible();
        await using var scene = await Scene.CreateAsync(HypervisorKind.QemuStorageDaemon, repository: false);
        using var disk = await GuestDisk.ConnectAsync(Path.Combine(scene.Folder, "nbd.sock"), "vda", Token);
        Assert.Equal(Scene.DiskLength, disk.Length);
        await disk.WriteAsync(8192, scene.Writes.Content(7), Token);
        Assert.Equal(scene.Writes.Content(7), await disk.ReadAsync(8192, GuestWrites.SlotLength, Token));
    }
}
