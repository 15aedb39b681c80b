using Tidemark.Backup.Definitions;
using Tidemark.Testing;

namespace Tidemark.Backup.Tests.Interop;

/// <summary>A pull whose scratch finds no room: the guest's writes go on, whatever becomes of the backup.</summary>
[Trait("Category", "Interop")]
public sealed class ScratchTests
{
    private const int Megabytes = 256;
    private const int Size = Megabytes << 20;
    private const string Mention = "cannot be told to give up the backup";

    [Theory]
    [InlineData(false, 160)]
    [InlineData(true, 32)]
    public async Task A_scratch_that_fills_breaks_the_backup_and_no_guest_write(bool embedded, int room)
    {
        Skip();
        await using var scene = new BackupScene();
        await scene.InitializeAsync();
        await using var daemon = await StartAsync(scene, embedded);
        var nbd = $"nbd+unix:///?socket={daemon.NbdPath}";
        await scene.BackupAsync(daemon.Source, BackupMode.Pull, nbd);
        Assert.Equal(embedded ? 0 : 1, scene.Notes.Count(note => note.Contains(Mention, StringComparison.Ordinal)));

        var small = Path.Combine(scene.Folder, "small");
        await MountAsync(small, room);
        try
        {
            // The guest overwrites the whole disk between the instant and the first byte that is read.
            ToolResult? guest = null;
            var source = daemon.Source with
            {
                ConnectAsync = async token => new HookedMonitor(
                    await daemon.Source.ConnectAsync(token),
                    "block-export-add",
                    async () => guest = await OverwriteAsync(daemon)),
            };
            scene.ScratchDirectory = small;
            var error = await Assert.ThrowsAsync<BackupException>(
                () => scene.BackupAsync(source, BackupMode.Pull, nbd));
            Assert.True(guest!.ExitCode == 0, guest.Output + guest.Error);
            Assert.DoesNotContain("failed", guest.Output + guest.Error, StringComparison.Ordinal);
            if (!embedded)
            {
                Assert.Contains("runs full", error.Message, StringComparison.Ordinal);
            }

            Assert.Empty(error.UndoErrors);
            Assert.Empty(Directory.EnumerateFileSystemEntries(small));
        }
        finally
        {
            await Tool.RunOkAsync("umount", small);
        }

        Assert.Empty(await daemon.LeftoversAsync());
        Assert.Empty(scene.Journals());
        scene.ScratchDirectory = null;
        var next = await scene.BackupAsync(daemon.Source, BackupMode.Pull, nbd);
        Assert.Equal(DiskKind.Incremental, next.Disks[0].Kind);
        var expected = new byte[Size];
        expected.AsSpan().Fill(9);
        await RealDaemonTests.CheckAsync(scene, next.SnapshotId, new() { ["vda"] = expected });
    }

    [Fact]
    public async Task A_scratch_without_room_is_refused_before_anything_is_done()
    {
        Skip();
        await using var scene = new BackupScene();
        await scene.InitializeAsync();
        await using var daemon = await StartAsync(scene, embedded: false);
        var small = Path.Combine(scene.Folder, "small");
        await MountAsync(small, 32);
        try
        {
            scene.ScratchDirectory = small;
            var error = await Assert.ThrowsAsync<BackupException>(() => scene.BackupAsync(
                daemon.Source, BackupMode.Pull, $"nbd+unix:///?socket={daemon.NbdPath}"));
            Assert.Equal(BackupErrorKind.Request, error.Kind);
            Assert.Contains("for the scratch", error.Message, StringComparison.Ordinal);
        }
        finally
        {
            await Tool.RunOkAsync("umount", small);
        }

        Assert.Empty(await daemon.LeftoversAsync());
        Assert.Empty(await daemon.BitmapsAsync());
        Assert.Empty(scene.Journals());
    }

    [Fact]
    public async Task A_scratch_directory_that_is_not_here_is_refused_before_anything_is_done()
    {
        RealDaemonTests.Skip();
        await using var scene = new BackupScene();
        await scene.InitializeAsync();
        await using var daemon = new RealDaemon(scene.Folder, embedded: true, nbd: false, "vda");
        await daemon.CreateDisksAsync("1M");
        await daemon.StartAsync();
        scene.ScratchDirectory = Path.Combine(scene.Folder, "elsewhere");
        var error = await Assert.ThrowsAsync<BackupException>(
            () => scene.BackupAsync(daemon.Source, BackupMode.Pull, disks: "vda"));
        Assert.Contains("does not exist on this host", error.Message, StringComparison.Ordinal);
        Assert.Empty(await daemon.LeftoversAsync());
    }

    private static void Skip()
    {
        RealDaemonTests.Skip();
        Assert.SkipUnless(
            OperatingSystem.IsLinux() && Environment.IsPrivilegedProcess,
            "needs to mount a small tmpfs, which only root may");
    }

    private static async Task<RealDaemon> StartAsync(BackupScene scene, bool embedded)
    {
        var daemon = new RealDaemon(scene.Folder, embedded, nbd: true, "vda");
        await daemon.CreateDisksAsync($"{Megabytes}M");
        await Tool.RunOkAsync("qemu-io", "-f", "qcow2", "-c", $"write -q -P 7 0 {Megabytes}M", daemon.DiskPath("vda"));
        await daemon.StartAsync();
        return daemon;
    }

    private static async Task MountAsync(string path, int megabytes)
    {
        Directory.CreateDirectory(path);
        await Tool.RunOkAsync("mount", "-t", "tmpfs", "-o", $"size={megabytes}m", "tidemark-test", path);
    }

    private static Task<ToolResult> OverwriteAsync(RealDaemon daemon)
    {
        const int Step = 2;
        List<string> arguments = ["-f", "raw"];
        for (var at = 0; at < Megabytes; at += Step)
        {
            arguments.AddRange(["-c", $"write -q -P 9 {at}M {Step}M"]);
        }

        arguments.Add($"nbd+unix:///vda?socket={daemon.NbdPath}");
        return Tool.RunAsync("qemu-io", arguments);
    }
}
