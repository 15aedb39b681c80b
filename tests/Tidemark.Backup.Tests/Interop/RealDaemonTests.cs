using System.Text.Json.Nodes;
using Tidemark.Backup.Definitions;
using Tidemark.Testing;

namespace Tidemark.Backup.Tests.Interop;

/// <summary>Whole backups against QEMU's own storage daemon.</summary>
[Trait("Category", "Interop")]
public sealed class RealDaemonTests
{
    private const int Size = 16 << 20;

    [Theory]
    [InlineData(false, BackupMode.Pull, true)]
    [InlineData(false, BackupMode.Push, true)]
    [InlineData(false, BackupMode.Pull, false)]
    [InlineData(true, BackupMode.Pull, true)]
    [InlineData(true, BackupMode.Push, true)]
    [InlineData(true, BackupMode.Pull, false)]
    public async Task Every_point_is_the_disk_as_it_was(bool embedded, BackupMode mode, bool daemonServes)
    {
        Skip();
        await using var scene = new BackupScene();
        await scene.InitializeAsync();
        await using var daemon = new RealDaemon(scene.Folder, embedded, nbd: true, "vda", "vdb");
        await daemon.CreateDisksAsync("16M");
        await daemon.StartAsync();
        var expected = new Dictionary<string, byte[]> { ["vda"] = new byte[Size], ["vdb"] = new byte[Size] };
        if (!daemonServes)
        {
            // The guest's writes are all done before; Tidemark then starts the one server itself.
            await WriteAsync(daemon, expected, "vda", 1, 0, 3 << 20);
            await StopServerAsync(daemon);
        }

        var nbd = daemonServes ? $"nbd+unix:///?socket={daemon.NbdPath}" : null;
        string[] disks = daemonServes ? [] : ["vda", "vdb"];
        if (daemonServes)
        {
            await WriteAsync(daemon, expected, "vda", 1, 0, 3 << 20);
            await WriteAsync(daemon, expected, "vdb", 2, 5 << 20, 4096);
        }

        var first = await scene.BackupAsync(daemon.Source, mode, nbd, disks: disks);
        Assert.All(first.Disks, disk => Assert.Equal(DiskKind.Full, disk.Kind));
        await CheckAsync(scene, first.SnapshotId, expected);
        Assert.Empty(await daemon.LeftoversAsync());

        if (daemonServes)
        {
            await WriteAsync(daemon, expected, "vda", 3, 2 << 20, 64 << 10);
            await WriteAsync(daemon, expected, "vda", 4, Size - 4096, 4096);
            await WriteAsync(daemon, expected, "vdb", 0, 5 << 20, 64 << 10);
        }

        var second = await scene.BackupAsync(daemon.Source, mode, nbd, disks: disks);
        Assert.All(second.Disks, disk => Assert.Equal(DiskKind.Incremental, disk.Kind));
        Assert.Equal(daemonServes ? 128 << 10 : 0, second.Disks[0].BytesDirty);
        await CheckAsync(scene, second.SnapshotId, expected);
        Assert.Empty(await daemon.LeftoversAsync());

        // Of all checkpoints only the newest is left, one bitmap a disk.
        Assert.Equal(
            [("vda", second.Checkpoint!), ("vdb", second.Checkpoint + ".1")],
            (await daemon.BitmapsAsync()).Select(bitmap => (bitmap.Disk, bitmap.Name)).Order());
        Assert.Empty(scene.Journals());
        await scene.CheckRepositoryAsync();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_lost_bitmap_of_one_disk_is_read_again_and_the_other_stays_incremental(bool embedded)
    {
        Skip();
        await using var scene = new BackupScene();
        await scene.InitializeAsync();
        await using var daemon = new RealDaemon(scene.Folder, embedded, nbd: true, "vda", "vdb");
        await daemon.CreateDisksAsync("16M");
        await daemon.StartAsync();
        var expected = new Dictionary<string, byte[]> { ["vda"] = new byte[Size], ["vdb"] = new byte[Size] };
        var nbd = $"nbd+unix:///?socket={daemon.NbdPath}";
        await WriteAsync(daemon, expected, "vda", 1, 0, 1 << 20);
        var first = await scene.BackupAsync(daemon.Source, BackupMode.Pull, nbd);
        await daemon.ExecuteAsync(
            "block-dirty-bitmap-remove", new JsonObject { ["node"] = "vda", ["name"] = first.Checkpoint });
        await WriteAsync(daemon, expected, "vda", 2, 1 << 20, 4096);
        await WriteAsync(daemon, expected, "vdb", 3, 1 << 20, 4096);
        var second = await scene.BackupAsync(daemon.Source, BackupMode.Push, nbd);
        Assert.Equal([DiskKind.ReRead, DiskKind.Incremental], second.Disks.Select(disk => disk.Kind));
        Assert.Contains("is missing", second.Disks[0].Reason, StringComparison.Ordinal);
        await CheckAsync(scene, second.SnapshotId, expected);

        // A restart after a clean end keeps the bitmaps; after a kill they are not trusted.
        await daemon.QuitAsync();
        await daemon.StartAsync();
        await WriteAsync(daemon, expected, "vda", 4, 0, 4096);
        var third = await scene.BackupAsync(daemon.Source, BackupMode.Pull, nbd);
        Assert.All(third.Disks, disk => Assert.Equal(DiskKind.Incremental, disk.Kind));
        await CheckAsync(scene, third.SnapshotId, expected);

        if (embedded)
        {
            return;
        }

        await daemon.QuitAsync();
        await daemon.StartAsync();
        await daemon.KillAsync();
        await daemon.StartAsync();
        var fourth = await scene.BackupAsync(daemon.Source, BackupMode.Pull, nbd);
        Assert.All(fourth.Disks, disk => Assert.Equal(DiskKind.ReRead, disk.Kind));
        Assert.Contains("inconsistent", fourth.Disks[0].Reason, StringComparison.Ordinal);
        await CheckAsync(scene, fourth.SnapshotId, expected);
        Assert.Equal(2, (await daemon.BitmapsAsync()).Count);
    }

    /// <summary>A monitor on a port of this host: NBD goes over a port too, and all else is as with a socket.</summary>
    [Theory]
    [InlineData(BackupMode.Pull)]
    [InlineData(BackupMode.Push)]
    public async Task A_monitor_on_a_port_of_this_host_is_as_good_as_a_socket(BackupMode mode)
    {
        Skip();
        await using var scene = new BackupScene();
        await scene.InitializeAsync();
        await using var daemon = new RealDaemon(scene.Folder, embedded: false, nbd: false, "vda");
        await daemon.CreateDisksAsync("16M");
        await Tool.RunOkAsync("qemu-io", "-f", "qcow2", "-c", "write -q -P 7 1M 64k", daemon.DiskPath("vda"));
        await daemon.StartAsync();
        var expected = new byte[Size];
        expected.AsSpan(1 << 20, 64 << 10).Fill(7);
        foreach (var host in new[] { "127.0.0.1", "localhost" })
        {
            var report = await scene.BackupAsync(
                daemon.Source with { TcpHost = host }, mode, disks: "vda");
            Assert.Equal(host == "localhost" ? DiskKind.Incremental : DiskKind.Full, report.Disks[0].Kind);
            await CheckAsync(scene, report.SnapshotId, new() { ["vda"] = expected });
            Assert.Empty(await daemon.LeftoversAsync());
            Assert.DoesNotContain(scene.Notes, note => note.Contains("unencrypted", StringComparison.Ordinal));
        }
    }

    internal static void Skip() => Assert.SkipWhen(
        Tool.Missing("qemu-storage-daemon", "qemu-img", "qemu-io") is not null, "QEMU's tools are not installed");

    internal static async Task WriteAsync(
        RealDaemon daemon, Dictionary<string, byte[]> expected, string disk, byte pattern, int offset, int length)
    {
        await daemon.WriteAsync(disk, pattern == 0 ? $"write -z {offset} {length}"
            : $"write -P {pattern} {offset} {length}");
        expected[disk].AsSpan(offset, length).Fill(pattern);
    }

    internal static async Task CheckAsync(BackupScene scene, string snapshotId, Dictionary<string, byte[]> expected)
    {
        foreach (var (disk, content) in expected)
        {
            var restored = await scene.RestoreAsync(snapshotId, disk);
            Assert.Equal(content.Length, restored.Length);
            var different = content.AsSpan().CommonPrefixLength(restored);
            Assert.True(different == content.Length, $"disk {disk} differs at {different}");
        }
    }

    private static Task StopServerAsync(RealDaemon daemon) => daemon.ExecuteAsync("nbd-server-stop");
}
