using Tidemark.Backup.Definitions;
using Tidemark.Testing;

namespace Tidemark.Backup.Tests.Interop;

/// <summary>What goes wrong in the middle of a run against QEMU's own storage daemon.</summary>
[Trait("Category", "Interop")]
public sealed class FailureTests
{
    private const int Size = 16 << 20;
    private const string Reading = "read the frozen views";

    [Fact]
    public async Task A_second_run_is_refused_and_harms_nothing()
    {
        RealDaemonTests.Skip();
        await using var scene = new BackupScene();
        await using var daemon = await StartAsync(scene);
        Task? second = null;
        scene.OnPhase = phase =>
        {
            if (phase == Reading && second is null)
            {
                second = scene.BackupAsync(daemon.Source, BackupMode.Push, disks: "vda");
            }
        };
        await scene.BackupAsync(daemon.Source, BackupMode.Pull, disks: "vda");
        var error = await Assert.ThrowsAsync<BackupException>(() => second!);
        Assert.Equal(BackupErrorKind.Busy, error.Kind);
        Assert.Empty(await daemon.LeftoversAsync());
    }

    [Fact]
    public async Task A_cancelled_run_leaves_nothing_and_the_next_is_an_increment()
    {
        RealDaemonTests.Skip();
        await using var scene = new BackupScene();
        await using var daemon = await StartAsync(scene);
        await scene.BackupAsync(daemon.Source, BackupMode.Pull, disks: "vda");
        foreach (var (mode, phase) in new[] { (BackupMode.Pull, Reading), (BackupMode.Push, "wait for the jobs") })
        {
            using var stop = new CancellationTokenSource();
            scene.OnPhase = text =>
            {
                if (text == phase)
                {
                    stop.Cancel();
                }
            };
            await Assert.ThrowsAnyAsync<OperationCanceledException>(
                () => scene.BackupAsync(daemon.Source, mode, token: stop.Token, disks: "vda"));
            Assert.Empty(await daemon.LeftoversAsync());
            Assert.Single(await daemon.BitmapsAsync());
        }

        scene.OnPhase = null;
        var next = await scene.BackupAsync(daemon.Source, BackupMode.Pull, disks: "vda");
        Assert.Equal(DiskKind.Incremental, next.Disks[0].Kind);
    }

    [Theory]
    [InlineData(BackupMode.Pull, Reading)]
    [InlineData(BackupMode.Push, "wait for the jobs")]
    public async Task A_killed_hypervisor_fails_the_run_and_the_next_reads_everything(BackupMode mode, string phase)
    {
        RealDaemonTests.Skip();
        await using var scene = new BackupScene();
        await using var daemon = await StartAsync(scene);
        await scene.BackupAsync(daemon.Source, BackupMode.Pull, disks: "vda");
        scene.OnPhase = text =>
        {
            if (text == phase)
            {
                daemon.KillNow();
            }
        };
        var error = await Record.ExceptionAsync(() => scene.BackupAsync(daemon.Source, mode, disks: "vda"));
        Assert.True(error is BackupException or Nbd.Protocol.NbdException, $"{error}");
        scene.OnPhase = null;
        await daemon.KillAsync();
        await daemon.StartAsync();
        var next = await scene.BackupAsync(daemon.Source, mode, disks: "vda");
        Assert.Equal(DiskKind.ReRead, next.Disks[0].Kind);
        Assert.Empty(await daemon.LeftoversAsync());
        Assert.Empty(scene.Journals());
        Assert.All(scene.RunIds, id => Assert.False(Directory.Exists(Path.Combine(Path.GetTempPath(),
            $"tidemark-{id}"))));
        await RealDaemonTests.CheckAsync(scene, next.SnapshotId, new() { ["vda"] = Filled(0, Size, 7) });
        await scene.CheckRepositoryAsync();
    }

    /// <summary>QEMU marks nothing when a disk is shrunk and grown again: the bitmap says clean, the disk reads
    /// zeroes.</summary>
    [Fact]
    public async Task A_disk_that_was_shrunk_and_grown_again_is_read_again()
    {
        RealDaemonTests.Skip();
        await using var scene = new BackupScene();
        await using var daemon = await StartAsync(scene);
        await scene.BackupAsync(daemon.Source, BackupMode.Pull, disks: "vda");
        foreach (var size in new[] { Size / 2, Size })
        {
            await daemon.ExecuteAsync("block_resize", new() { ["node-name"] = "vda", ["size"] = size });
        }

        var second = await scene.BackupAsync(daemon.Source, BackupMode.Pull, disks: "vda");
        Assert.Equal(DiskKind.ReRead, second.Disks[0].Kind);
        Assert.Contains("reads as zero", second.Disks[0].Reason, StringComparison.Ordinal);
        await RealDaemonTests.CheckAsync(scene, second.SnapshotId, new() { ["vda"] = Filled(0, Size / 2, 7) });

        await daemon.ExecuteAsync("block_resize", new() { ["node-name"] = "vda", ["size"] = 2 * Size });
        var third = await scene.BackupAsync(daemon.Source, BackupMode.Push, disks: "vda");
        Assert.Contains("size changed", third.Disks[0].Reason, StringComparison.Ordinal);
        Assert.Equal(2 * Size, (await scene.RestoreAsync(third.SnapshotId, "vda")).Length);
    }

    /// <summary>The border of the regrown part lies in a chunk that else is as it was, and nothing is behind it; then
    /// the guest writes to that chunk, and its clean rest is still not the parent's.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_disk_that_was_shrunk_and_grown_by_less_than_a_chunk_is_read_again(bool written)
    {
        const int Cut = 256 << 10;
        RealDaemonTests.Skip();
        await using var scene = new BackupScene();
        await using var daemon = await StartAsync(scene);
        await scene.BackupAsync(daemon.Source, BackupMode.Pull, disks: "vda");
        foreach (var size in new[] { Size - Cut, Size })
        {
            await daemon.ExecuteAsync("block_resize", new() { ["node-name"] = "vda", ["size"] = size });
        }

        var expected = Filled(0, Size - Cut, 7);
        if (written)
        {
            // QEMU's own tools record too.
            const int At = Size - (1 << 20);
            await daemon.QuitAsync();
            await Tool.RunOkAsync("qemu-io", "-f", "qcow2", "-c", $"write -q -P 8 {At} 64k", daemon.DiskPath("vda"));
            await daemon.StartAsync();
            expected.AsSpan(At, 64 << 10).Fill(8);
        }

        var second = await scene.BackupAsync(daemon.Source, BackupMode.Pull, disks: "vda");
        await RealDaemonTests.CheckAsync(scene, second.SnapshotId, new() { ["vda"] = expected });
        Assert.Equal(DiskKind.ReRead, second.Disks[0].Kind);
        Assert.Contains("shrunk", second.Disks[0].Reason, StringComparison.Ordinal);
    }

    /// <summary>The very accident of two disks exchanged as files: names, sizes and nodes are as before.</summary>
    [Fact]
    public async Task Two_disks_whose_files_were_exchanged_are_read_again()
    {
        RealDaemonTests.Skip();
        await using var scene = new BackupScene();
        await scene.InitializeAsync();
        await using var daemon = new RealDaemon(scene.Folder, embedded: false, nbd: false, "vda", "vdb");
        await daemon.CreateDisksAsync("16M");
        await Tool.RunOkAsync("qemu-io", "-f", "qcow2", "-c", "write -q -P 7 0 16M", daemon.DiskPath("vda"));
        await daemon.StartAsync();
        await scene.BackupAsync(daemon.Source, BackupMode.Pull, disks: ["vda", "vdb"]);
        await daemon.QuitAsync();
        File.Move(daemon.DiskPath("vda"), daemon.DiskPath("x"));
        File.Move(daemon.DiskPath("vdb"), daemon.DiskPath("vda"));
        File.Move(daemon.DiskPath("x"), daemon.DiskPath("vdb"));
        await daemon.StartAsync();
        var second = await scene.BackupAsync(daemon.Source, BackupMode.Push, disks: ["vda", "vdb"]);
        Assert.All(second.Disks, disk => Assert.Equal(DiskKind.ReRead, disk.Kind));
        await RealDaemonTests.CheckAsync(
            scene, second.SnapshotId, new() { ["vda"] = new byte[Size], ["vdb"] = Filled(0, Size, 7) });
    }

    private static async Task<RealDaemon> StartAsync(BackupScene scene)
    {
        await scene.InitializeAsync();
        var daemon = new RealDaemon(scene.Folder, embedded: false, nbd: false, "vda");
        await daemon.CreateDisksAsync("16M");
        await Tool.RunOkAsync("qemu-io", "-f", "qcow2", "-c", "write -q -P 7 0 16M", daemon.DiskPath("vda"));
        await daemon.StartAsync();
        return daemon;
    }

    private static byte[] Filled(int offset, int length, byte pattern)
    {
        var content = new byte[Size];
        content.AsSpan(offset, length).Fill(pattern);
        return content;
    }
}
