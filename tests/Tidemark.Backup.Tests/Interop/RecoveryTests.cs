using Tidemark.Backup.Definitions;
using Tidemark.Backup.Journal;
using Tidemark.Backup.Planning;
using Tidemark.Qmp;

namespace Tidemark.Backup.Tests.Interop;

/// <summary>What dead runs left at a hypervisor, and what the next run makes of it.</summary>
[Trait("Category", "Interop")]
public sealed class RecoveryTests
{
    private const int Size = 16 << 20;

    /// <summary>The restore point is durable, its run died before the journal said so: its bitmap is taken back, and
    /// the restore point before it is the one that the next can build on.</summary>
    [Fact]
    public async Task A_run_that_died_right_after_its_restore_point_costs_no_whole_read()
    {
        RealDaemonTests.Skip();
        await using var scene = new BackupScene();
        await scene.InitializeAsync();
        await using var daemon = new RealDaemon(scene.Folder, embedded: false, nbd: true, "vda");
        await daemon.CreateDisksAsync("16M");
        await daemon.StartAsync();
        var nbd = $"nbd+unix:///?socket={daemon.NbdPath}";
        var expected = new Dictionary<string, byte[]> { ["vda"] = new byte[Size] };
        await RealDaemonTests.WriteAsync(daemon, expected, "vda", 1, 0, 1 << 20);
        var first = await scene.BackupAsync(daemon.Source, BackupMode.Pull, nbd);
        await RealDaemonTests.WriteAsync(daemon, expected, "vda", 2, 1 << 20, 1 << 20);

        string? path = null;
        byte[]? journal = null;
        scene.OnPhase = phase =>
        {
            if (phase == "committing the restore point")
            {
                path = scene.Journals().Single();
                journal = File.ReadAllBytes(path);
            }
        };
        var dying = daemon.Source with
        {
            ConnectAsync = async token => new HookedMonitor(
                await daemon.Source.ConnectAsync(token),
                "block-dirty-bitmap-remove",
                () => throw new QmpException(QmpException.MonitorClosed, "the run is dead")),
        };
        var second = await scene.BackupAsync(dying, BackupMode.Pull, nbd);
        await File.WriteAllBytesAsync(path!, journal!, TestContext.Current.CancellationToken);
        Assert.Equal(2, (await daemon.BitmapsAsync()).Count);
        await RealDaemonTests.CheckAsync(scene, second.SnapshotId, expected);

        scene.OnPhase = null;
        await RealDaemonTests.WriteAsync(daemon, expected, "vda", 3, 3 << 20, 64 << 10);
        var third = await scene.BackupAsync(daemon.Source, BackupMode.Pull, nbd);
        Assert.Equal((DiskKind.Incremental, first.SnapshotId), (third.Disks[0].Kind, third.Disks[0].Parent));
        await RealDaemonTests.CheckAsync(scene, third.SnapshotId, expected);
        Assert.Equal([third.Checkpoint], (await daemon.BitmapsAsync()).Select(bitmap => bitmap.Name));
        Assert.Empty(await daemon.LeftoversAsync());

        // With none to be trusted the newest is the parent; no bitmap of an older one stays.
        await daemon.ExecuteAsync(
            "block-dirty-bitmap-disable", new() { ["node"] = "vda", ["name"] = third.Checkpoint });
        var fourth = await scene.BackupAsync(daemon.Source, BackupMode.Pull, nbd);
        Assert.Equal((DiskKind.ReRead, third.SnapshotId), (fourth.Disks[0].Kind, fourth.Disks[0].Parent));
        Assert.Contains("not recording", fourth.Disks[0].Reason, StringComparison.Ordinal);
        Assert.Equal([fourth.Checkpoint], (await daemon.BitmapsAsync()).Select(bitmap => bitmap.Name));
    }

    /// <summary>The hypervisor was started anew, and its nodes have other names.</summary>
    [Fact]
    public async Task A_dead_runs_checkpoint_is_removed_under_whatever_node_it_is_now()
    {
        const string Dead = "tidemark-0123456789abcdef";
        RealDaemonTests.Skip();
        await using var scene = new BackupScene();
        await scene.InitializeAsync();
        await using var daemon = new RealDaemon(scene.Folder, embedded: false, nbd: false, "vda");
        await daemon.CreateDisksAsync("16M");
        await daemon.StartAsync();
        await daemon.ExecuteAsync(
            "block-dirty-bitmap-add", new() { ["node"] = "vda", ["name"] = Dead, ["persistent"] = true });
        var folder = new StateDirectory(Path.Combine(scene.Folder, "state")).FolderOf(daemon.Source.Name, "vm");
        using (folder.TryLock())
        {
            using var journal = RunJournal.Create(folder.JournalPath, Dead[9..], "vm", daemon.Source.Name);
            journal.WillDo([new UndoAction.CheckpointBitmap("other-name", Dead), new UndoAction.Job($"{Dead}-job0")]);
        }

        // The last line was cut short by the crash: it announced something that was never done.
        await File.AppendAllTextAsync(
            folder.JournalPath, "{\"undo\":[{\"kind\":\"no", TestContext.Current.CancellationToken);
        var report = await scene.BackupAsync(daemon.Source, BackupMode.Pull, disks: "vda");
        Assert.Equal([report.Checkpoint], (await daemon.BitmapsAsync()).Select(bitmap => bitmap.Name));
        Assert.Empty(await daemon.LeftoversAsync());
        Assert.Empty(scene.Journals());
    }
}
