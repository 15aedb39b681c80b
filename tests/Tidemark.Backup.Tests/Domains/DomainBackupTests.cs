using Tidemark.Backup.Definitions;
using Tidemark.Backup.Domains;
using Tidemark.Backup.Journal;
using Tidemark.Backup.Xml;
using Tidemark.Testing;

namespace Tidemark.Backup.Tests.Domains;

/// <summary>Backups of a domain against QEMU's storage daemon and the embedded engine.</summary>
[Trait("Category", "Interop")]
public sealed class DomainBackupTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_push_is_finished_by_whoever_comes_next(bool embedded)
    {
        await using var scene = await DomainScene.StartAsync(embedded, nbd: true, "vda");
        await scene.Daemon.WriteAsync("vda", "write -P 1 0 1M");
        var begun = await scene.Service.BeginAsync(scene.Push("full", checkpoint: "c1"), Token);

        // Nobody follows it: any later command finds it ended, and takes away what was temporary.
        DomainJobInfo? job = begun;
        while (job is not null)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(20), Token);
            job = await scene.Service.ReadJobAsync(Token);
        }

        await scene.NothingIsLeftAsync();
        var completed = await scene.Service.ReadCompletedAsync(Token);
        Assert.Equal((begun.RunId, JobResult.Completed), (completed!.RunId, completed.Result!.Value));
        Assert.Equal("c1:Valid*", await scene.ListAsync());
        await scene.Daemon.WriteAsync("vda", "write -P 2 64k 64k");
        var second = await scene.RunAsync(scene.Push("inc", "c1", "c2"));
        Assert.Equal((JobResult.Completed, 65536L), (second.Result!.Value, second.DoneBytes));
        await scene.NothingIsLeftAsync();
        Assert.Equal("c1:Valid c2:Valid*", await scene.ListAsync());
        await Tool.RunOkAsync(
            "qemu-img", "rebase", "-u", "-F", "qcow2", "-b", scene.File("full"), scene.File("inc"));
        await Tool.RunOkAsync(
            "qemu-io", "-r", "-c", "read -P 1 0 64k", "-c", "read -P 2 64k 64k", "-c", "read -P 1 128k 64k",
            scene.File("inc"));
    }

    [Theory]
    [InlineData(false, false, JobResult.Completed, "c1:Valid c2:Valid*")]
    [InlineData(false, true, JobResult.Cancelled, "c1:Valid*")]
    [InlineData(true, false, JobResult.Completed, "c1:Valid c2:Valid*")]
    [InlineData(true, true, JobResult.Cancelled, "c1:Valid*")]
    public async Task A_pull_that_was_finished_is_not_one_that_was_given_up(
        bool embedded, bool givesUp, JobResult result, string checkpoints)
    {
        await using var scene = await DomainScene.StartAsync(embedded, nbd: false, "vda");
        await scene.Checkpoints.CreateAsync(new CheckpointDefinition { Name = "c1" }, null, Token);
        var begun = await scene.Service.BeginAsync(scene.Pull("c1", "c2"), Token);
        Assert.Equal(0, (await scene.Service.ReadJobAsync(Token))!.Clients);
        Assert.Contains("exportbitmap='backup-vda'", await scene.Service.DumpAsync(Token), StringComparison.Ordinal);
        await Tool.RunOkAsync(
            "qemu-io", "-r", "-f", "raw", "-c", "read -P 0 0 1M",
            $"nbd+unix:///vda?socket={scene.File("pull.sock")}");
        var busy = await Assert.ThrowsAsync<BackupException>(() => scene.Service.BeginAsync(scene.Pull(), Token));
        Assert.Contains("another backup job is already running", busy.Message, StringComparison.Ordinal);

        var ended = await scene.Service.AbortAsync(givesUp, Token);
        Assert.Equal((begun.RunId, result), (ended.RunId, ended.Result!.Value));
        await scene.NothingIsLeftAsync();
        Assert.Equal(checkpoints, await scene.ListAsync());
        var none = await Assert.ThrowsAsync<BackupException>(() => scene.Service.AbortAsync(false, Token));
        Assert.Contains("no job is active", none.Message, StringComparison.Ordinal);
    }

    /// <summary>The hypervisor by another path: what was begun under the first name is told, not touched.</summary>
    [Fact]
    public async Task A_backup_that_was_begun_under_another_name_is_told()
    {
        await using var scene = await DomainScene.StartAsync(embedded: true, nbd: false, "vda");
        var begun = await scene.Service.BeginAsync(scene.Pull(checkpoint: "c1"), Token);
        scene.Source = scene.Daemon.Source with { Name = "qmp:/another/path" };
        Assert.Null(await scene.Service.ReadJobAsync(Token));
        Assert.Contains(scene.Notes, note => note.Contains("--monitor qmp:test finds it", StringComparison.Ordinal));
        var error = await Assert.ThrowsAsync<BackupException>(() => scene.Service.AbortAsync(givesUp: false, Token));
        Assert.Contains($"run {begun.RunId} is at this hypervisor", error.Message, StringComparison.Ordinal);
        scene.Notes.Clear();
        Assert.Equal(["vda"], (await scene.Service.ListDisksAsync(Token)).Select(disk => disk.Name));
        Assert.Single(scene.Notes);
        var refused = await Assert.ThrowsAsync<BackupException>(
            () => scene.Service.BeginAsync(scene.Push("target"), Token));
        Assert.Contains("already in active block job", refused.Message, StringComparison.Ordinal);

        scene.Source = null;
        Assert.Equal(JobResult.Completed, (await scene.Service.AbortAsync(givesUp: false, Token)).Result);
        Assert.Equal("c1:Valid*", await scene.ListAsync());
        await scene.NothingIsLeftAsync();
    }

    [Fact]
    public async Task A_client_that_dies_is_noticed()
    {
        await using var scene = await DomainScene.StartAsync(embedded: false, nbd: false, "vda");
        var begun = await scene.Service.BeginAsync(scene.Pull(), Token);
        using var client = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo(
            "qemu-io", ["-r", "-f", "raw", $"nbd+unix:///vda?socket={scene.File("pull.sock")}"])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        })!;
        var seen = false;
        var job = await scene.Service.FollowAsync(
            begun.RunId,
            TimeSpan.FromMilliseconds(300),
            info =>
            {
                if (info.Clients > 0 && !seen)
                {
                    seen = true;
                    client.Kill();
                }
            },
            Token);
        Assert.True(seen);
        Assert.Equal(JobResult.Failed, job.Result);
        Assert.Contains("the NBD client is gone", job.Error, StringComparison.Ordinal);
        await scene.NothingIsLeftAsync();
    }

    [Theory]
    [InlineData(false, "c1:Valid*")]
    [InlineData(true, "c1:Valid c2:Valid*")]
    public async Task A_push_that_fails_leaves_a_checkpoint_only_if_asked(bool keep, string checkpoints)
    {
        await using var scene = await DomainScene.StartAsync(embedded: false, nbd: true, "vda");
        await scene.Checkpoints.CreateAsync(new CheckpointDefinition { Name = "c1" }, null, Token);
        await scene.Daemon.WriteAsync("vda", "write -P 1 0 4M");

        // The target is used as it is, and is too short for what the job writes.
        await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "qcow2", scene.File("short"), "1M");
        var error = await Record.ExceptionAsync(() => scene.RunAsync(scene.Push("short", "c1", "c2") with
        {
            ReuseExternal = true,
            KeepCheckpoint = keep,
        }));
        Assert.IsType<BackupException>(error);
        await scene.NothingIsLeftAsync();
        Assert.Equal("c1:Valid*", await scene.ListAsync());

        // And one that is cancelled while it runs.
        var begun = await scene.Service.BeginAsync(
            scene.Push("cancelled", checkpoint: "c2") with { KeepCheckpoint = keep }, Token);
        var ended = await AbortAsync(scene);
        if (ended is not null)
        {
            Assert.Equal((begun.RunId, JobResult.Cancelled), (ended.RunId, ended.Result!.Value));
            Assert.Equal(checkpoints, await scene.ListAsync());
            Assert.False(File.Exists(scene.File("cancelled")));
        }

        await scene.NothingIsLeftAsync();
    }

    [Fact]
    public async Task A_definition_that_cannot_be_written_is_found_before_anything_is_frozen()
    {
        await using var scene = await DomainScene.StartAsync(embedded: false, nbd: false, "vda");
        await scene.Checkpoints.CreateAsync(new CheckpointDefinition { Name = "c1" }, null, Token);
        var folder = Directory.GetDirectories(scene.File("state"), "checkpoints", SearchOption.AllDirectories)[0];
        Directory.CreateDirectory(Path.Combine(folder, "c2.xml.new"));
        var error = await Assert.ThrowsAsync<BackupException>(() =>
            scene.Service.BeginAsync(scene.Push("full", checkpoint: "c2"), Token));
        Assert.Equal(BackupErrorKind.State, error.Kind);
        Directory.Delete(Path.Combine(folder, "c2.xml.new"));
        Assert.Equal("c1:Valid*", await scene.ListAsync());
        Assert.DoesNotContain(await scene.Daemon.BitmapsAsync(), bitmap => bitmap.Name == "c2");
        Assert.False(File.Exists(scene.File("full")));
        await scene.NothingIsLeftAsync();
    }

    [Fact]
    public async Task A_target_that_exists_is_refused_and_not_touched()
    {
        await using var scene = await DomainScene.StartAsync(embedded: false, nbd: false, "vda");
        await File.WriteAllTextAsync(scene.File("full"), "somebody's", Token);
        await Assert.ThrowsAsync<BackupException>(() => scene.Service.BeginAsync(scene.Push("full"), Token));
        Assert.Equal("somebody's", await File.ReadAllTextAsync(scene.File("full"), Token));
        await scene.NothingIsLeftAsync();
    }

    [Fact]
    public async Task A_hypervisor_that_was_killed_ends_the_backup_as_failed()
    {
        await using var scene = await DomainScene.StartAsync(embedded: false, nbd: false, "vda");
        await scene.Service.BeginAsync(scene.Pull(checkpoint: "c1"), Token);
        await scene.Daemon.KillAsync();
        await scene.Daemon.StartAsync();
        Assert.Null(await scene.Service.ReadJobAsync(Token));
        var completed = await scene.Service.ReadCompletedAsync(Token);
        Assert.Equal(JobResult.Failed, completed!.Result);
        Assert.Equal("", await scene.ListAsync());
        await scene.NothingIsLeftAsync();
        var next = await scene.RunAsync(scene.Push("full", checkpoint: "c1"));
        Assert.Equal(JobResult.Completed, next.Result);
        Assert.Equal("c1:Valid*", await scene.ListAsync());
    }

    [Theory]
    [InlineData("qcow2", "4M")]
    [InlineData("raw", "16M")]
    public async Task An_image_of_another_size_is_told_with_its_disk(string format, string size)
    {
        await using var scene = await DomainScene.StartAsync(embedded: false, nbd: false, "vda", "vdb");
        await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", format, scene.File("there"), size);
        var request = new BackupBegin
        {
            Backup = BackupXml.Parse($"""
                <domainbackup><disks><disk name='vdb' type='file'><driver type='{format}'/>
                <target file='{scene.File("there")}'/></disk></disks></domainbackup>
                """),
            Checkpoint = new CheckpointDefinition { Name = "c1" },
            ReuseExternal = true,
        };
        var error = await Assert.ThrowsAsync<BackupException>(() => scene.Service.BeginAsync(request, Token));
        Assert.Contains("disk 'vdb' has 8388608 bytes, and the", error.Message, StringComparison.Ordinal);
        Assert.Contains(scene.File("there"), error.Message, StringComparison.Ordinal);
        Assert.True(File.Exists(scene.File("there")));
        Assert.Equal("", await scene.ListAsync());
        await scene.NothingIsLeftAsync();
    }

    /// <summary>An increment to a raw file of its own is of no use; into a raw backup it makes that the disk of now,
    /// zeroes included.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task An_increment_into_a_raw_backup_makes_it_the_disk_of_now(bool embedded)
    {
        await using var scene = await DomainScene.StartAsync(embedded, nbd: true, "vda");
        await scene.Daemon.WriteAsync("vda", "write -q -P 1 0 4M");
        var full = await scene.RunAsync(Raw("disk", null, "c1"));
        Assert.Equal((JobResult.Completed, 8L << 20), (full.Result!.Value, new FileInfo(scene.File("disk")).Length));
        await ReadsAsync("read -q -P 1 0 4M", "read -q -P 0 4M 4M");

        await scene.Daemon.WriteAsync("vda", "write -q -z 1M 1M");
        await scene.Daemon.WriteAsync("vda", "write -q -P 2 5M 64k");
        scene.Notes.Clear();
        var lone = await scene.RunAsync(Raw("lone", "c1", null));
        Assert.Equal((1L << 20) + 65536, lone.DoneBytes);
        Assert.Contains(scene.Notes, note => note.Contains("which zeroes are data", StringComparison.Ordinal));

        var increment = await scene.RunAsync(Raw("disk", "c1", "c2") with { ReuseExternal = true });
        Assert.Equal((JobResult.Completed, lone.DoneBytes), (increment.Result!.Value, increment.DoneBytes));
        Assert.Contains(scene.Notes, note => note.Contains("only if it held", StringComparison.Ordinal));
        await ReadsAsync(
            "read -q -P 1 0 1M", "read -q -P 0 1M 1M", "read -q -P 1 2M 2M", "read -q -P 0 4M 1M",
            "read -q -P 2 5M 64k", "read -q -P 0 5184k 3008k");
        await scene.NothingIsLeftAsync();

        BackupBegin Raw(string target, string? since, string? checkpoint) => new()
        {
            Backup = BackupXml.Parse($"""
                <domainbackup>{(since is null ? "" : $"<incremental>{since}</incremental>")}<disks>
                <disk name='vda' type='file'><driver type='raw'/><target file='{scene.File(target)}'/></disk></disks>
                </domainbackup>
                """),
            Checkpoint = checkpoint is null ? null : new CheckpointDefinition { Name = checkpoint },
        };

        Task ReadsAsync(params string[] reads) => Tool.RunOkAsync(
            "qemu-io", ["-r", "-f", "raw", .. reads.SelectMany(read => new[] { "-c", read }), scene.File("disk")]);
    }

    /// <summary>Nobody looked before the hypervisor ended: its target may be whole, so it is not deleted.</summary>
    [Fact]
    public async Task A_push_that_nobody_saw_end_is_put_aside()
    {
        await using var scene = await DomainScene.StartAsync(embedded: false, nbd: false, "vda");
        await File.WriteAllTextAsync(scene.File("full.unverified"), "an older one", Token);
        await scene.Service.BeginAsync(scene.Push("full", checkpoint: "c1"), Token);
        await scene.Daemon.KillAsync();
        await scene.Daemon.StartAsync();
        Assert.Null(await scene.Service.ReadJobAsync(Token));
        Assert.Equal(JobResult.Failed, (await scene.Service.ReadCompletedAsync(Token))!.Result);
        Assert.False(File.Exists(scene.File("full")));
        Assert.True(File.Exists(scene.File("full.unverified.2")));
        Assert.Equal("an older one", await File.ReadAllTextAsync(scene.File("full.unverified"), Token));
        Assert.Contains(scene.Notes, note => note.Contains("full.unverified.2'", StringComparison.Ordinal));
        Assert.Equal("", await scene.ListAsync());
        await scene.NothingIsLeftAsync();
    }

    [Fact]
    public async Task Events_are_told_once()
    {
        await using var scene = await DomainScene.StartAsync(embedded: false, nbd: false, "vda");
        List<DomainEvent> events = [];
        var watching = scene.Service.WatchAsync(
            one =>
            {
                events.Add(one);
                return one.Name != "job-completed";
            },
            cancellationToken: Token);
        await scene.Service.BeginAsync(scene.Push("full"), Token);
        await watching;
        Assert.Equal(["block-job", "block-job-2", "job-completed"], events.Select(one => one.Name));
        Assert.Equal("Backup for vda completed", events[1].Text);
        await scene.NothingIsLeftAsync();
    }

    // Null when the push was faster.
    private static async Task<DomainJobInfo?> AbortAsync(DomainScene scene)
    {
        try
        {
            return await scene.Service.AbortAsync(givesUp: false, Token);
        }
        catch (BackupException exception) when (exception.Message.Contains("no job", StringComparison.Ordinal))
        {
            return null;
        }
    }
}
