using System.Net;
using System.Net.Sockets;
using System.Text.Json.Nodes;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Domains;
using Tidemark.Backup.Journal;
using Tidemark.Backup.Xml;
using Tidemark.Qmp;
using Tidemark.Testing;

namespace Tidemark.Backup.Tests.Domains;

/// <summary>The failures that docs/failures.md lists, at QEMU's storage daemon.</summary>
[Trait("Category", "Interop")]
public sealed class DomainFailureTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>One target of two runs full: the other job is ended, both targets go, and the checkpoint too.</summary>
    [Fact]
    public async Task A_target_that_runs_full_takes_everything_along()
    {
        SkipUnlessMountable();
        await using var scene = await DomainScene.StartAsync(embedded: false, nbd: true, "vda", "vdb");
        await scene.Checkpoints.CreateAsync(new CheckpointDefinition { Name = "c1" }, null, Token);
        await scene.Daemon.WriteAsync("vda", "write -q -P 1 0 8M");
        await scene.Daemon.WriteAsync("vdb", "write -q -P 2 0 8M");
        await using var small = await SmallFolder.MountAsync(scene.File("small"), megabytes: 4);
        var ended = await scene.RunAsync(Request($"""
            <domainbackup><disks>
              <disk name='vda' type='file'><target file='{scene.File("small/vda")}'/></disk>
              <disk name='vdb' type='file'><target file='{scene.File("vdb.target")}'/></disk>
            </disks></domainbackup>
            """, "c2"));
        Assert.Equal(JobResult.Failed, ended.Result);
        Assert.Contains("No space left", ended.Error, StringComparison.Ordinal);
        Assert.False(File.Exists(scene.File("small/vda")));
        Assert.False(File.Exists(scene.File("vdb.target")));
        Assert.Equal("c1:Valid*", await scene.ListAsync());
        await scene.NothingIsLeftAsync();
        Assert.Equal(8 << 20, await scene.SizeAsync("c1"));
    }

    /// <summary>Whoever follows a pull ends it before its scratch is full: no write of the guest fails.</summary>
    [Fact]
    public async Task A_scratch_that_runs_full_ends_the_pull_and_no_guest_write_fails()
    {
        SkipUnlessMountable();
        await using var scene = await DomainScene.StartAsync(null, "64M", "vda");
        await scene.Checkpoints.CreateAsync(new CheckpointDefinition { Name = "c1" }, null, Token);
        await scene.Daemon.WriteAsync("vda", "write -q -P 1 0 64M");
        await using var small = await SmallFolder.MountAsync(scene.File("small"), megabytes: 110);
        var begun = await scene.Service.BeginAsync(
            Request($"""
                <domainbackup mode='pull'><server transport='unix' socket='{scene.Daemon.NbdPath}'/><disks>
                  <disk name='vda' type='file' exportname='view'><scratch file='{scene.File("small/vda")}'/></disk>
                </disks></domainbackup>
                """, "c2") with { NbdRuns = true },
            Token);
        var following = scene.Service.FollowAsync(begun.RunId, null, null, Token);
        for (var megabyte = 0; megabyte < 64; megabyte += 2)
        {
            await scene.Daemon.WriteAsync("vda", $"write -q -P 9 {megabyte}M 2M");
        }

        var ended = await following;
        Assert.Equal(JobResult.Failed, ended.Result);
        Assert.Contains("runs full", ended.Error, StringComparison.Ordinal);
        Assert.Equal("c1:Valid*", await scene.ListAsync());
        await scene.NothingIsLeftAsync();
        await scene.Daemon.WriteAsync("vda", "read -q -P 9 0 64M");
    }

    [Fact]
    public async Task An_export_that_fails_takes_everything_back()
    {
        await using var scene = await DomainScene.StartAsync(embedded: false, nbd: true, "vda");
        await scene.Checkpoints.CreateAsync(new CheckpointDefinition { Name = "c1" }, null, Token);

        // The guest's own export has that name.
        var error = await Assert.ThrowsAsync<BackupException>(() => scene.Service.BeginAsync(
            Request($"""
                <domainbackup mode='pull'><incremental>c1</incremental>
                <server transport='unix' socket='{scene.Daemon.NbdPath}'/><disks>
                  <disk name='vda' type='file' exportname='vda'><scratch file='{scene.File("vda.scratch")}'/></disk>
                </disks></domainbackup>
                """, "c2") with { NbdRuns = true },
            Token));
        Assert.Contains("export the frozen view", error.Message, StringComparison.Ordinal);
        Assert.Empty(error.UndoErrors);
        Assert.Null(await scene.Service.ReadJobAsync(Token));
        Assert.Equal("c1:Valid*", await scene.ListAsync());
        await scene.NothingIsLeftAsync();
        await scene.Daemon.WriteAsync("vda", "write -q -P 1 0 64k");
        Assert.Equal(65536, (await scene.RunAsync(scene.Push("inc", "c1"))).DoneBytes);
    }

    [Fact]
    public async Task A_port_in_use_and_certificates_that_are_not_there_take_everything_back()
    {
        await using var scene = await DomainScene.StartAsync(embedded: false, nbd: false, "vda");
        using var taken = new TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        foreach (var (tls, expected) in new[] { ("no", "start the hypervisor's NBD server"), ("yes", "certificates") })
        {
            var request = Request($"""
                <domainbackup mode='pull'>
                <server transport='tcp' tls='{tls}' name='127.0.0.1' port='{((IPEndPoint)taken.LocalEndpoint).Port}'/>
                <disks><disk name='vda' type='file'><scratch file='{scene.File("vda.scratch")}'/></disk></disks>
                </domainbackup>
                """, "c1");
            var error = await Assert.ThrowsAsync<BackupException>(() => scene.Service.BeginAsync(
                request with { TlsDirectory = tls == "yes" ? scene.File("nowhere") : null }, Token));
            Assert.Contains(expected, error.Message, StringComparison.Ordinal);
            Assert.Empty(error.UndoErrors);
            Assert.Equal("", await scene.ListAsync());
            await scene.NothingIsLeftAsync();
        }
    }

    /// <summary>With certificates that are there: who has one of the authority's reads the view, and nobody
    /// else.</summary>
    [Fact]
    public async Task A_pull_over_tls_is_for_those_whom_the_authority_knows()
    {
        Assert.SkipWhen(Tool.Missing("nbdinfo") is not null, "not installed: nbdinfo");
        await using var scene = await DomainScene.StartAsync(embedded: false, nbd: false, "vda");
        using var folder = new TemporaryDirectory();
        var certificates = new TestCertificates(folder);
        int port;
        using (var free = new TcpListener(IPAddress.Loopback, 0))
        {
            free.Start();
            port = ((IPEndPoint)free.LocalEndpoint).Port;
        }

        var begun = await scene.Service.BeginAsync(
            Request($"""
                <domainbackup mode='pull'><server transport='tcp' tls='yes' name='localhost' port='{port}'/>
                <disks><disk name='vda' type='file'><scratch file='{scene.File("vda.scratch")}'/></disk></disks>
                </domainbackup>
                """, "c1") with { TlsDirectory = certificates.Folder },
            Token);
        var known = $"nbds://localhost:{port}/vda?tls-certificates={certificates.Folder}";
        Assert.Contains("\"TLS\": true", await Tool.RunOkAsync("nbdinfo", "--json", known), StringComparison.Ordinal);
        foreach (var unknown in new[]
        {
            $"nbd://localhost:{port}/vda",
            $"nbds://localhost:{port}/vda?tls-certificates={certificates.WithoutClient(folder)}",
        })
        {
            await Assert.ThrowsAsync<InvalidOperationException>(() => Tool.RunOkAsync("nbdinfo", "--json", unknown));
        }

        await scene.Service.AbortAsync(givesUp: false, Token);
        var error = await Assert.ThrowsAsync<QmpException>(() => scene.Daemon.ExecuteAsync(
            "object-del", new JsonObject { ["id"] = new RunNames(begun.RunId).TlsObject }));
        Assert.Contains("not found", error.Message, StringComparison.Ordinal);
        Assert.Equal("c1:Valid*", await scene.ListAsync());
        await scene.NothingIsLeftAsync();
    }

    /// <summary>A hypervisor takes any path that it is to listen at, whoever has it: so ours is not asked to.</summary>
    [Fact]
    public async Task A_socket_that_somebody_listens_at_and_a_file_in_its_place_are_not_taken_away()
    {
        await using var scene = await DomainScene.StartAsync(embedded: false, nbd: false, "vda");
        using (var somebody = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            somebody.Bind(new UnixDomainSocketEndPoint(scene.File("pull.sock")));
            somebody.Listen();
            var taken = await Assert.ThrowsAsync<BackupException>(
                () => scene.Service.BeginAsync(scene.Pull(), Token));
            Assert.Contains("somebody listens at", taken.Message, StringComparison.Ordinal);
            using var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            await client.ConnectAsync(new UnixDomainSocketEndPoint(scene.File("pull.sock")), Token);
        }

        await scene.NothingIsLeftAsync();
        File.Delete(scene.File("pull.sock"));
        await File.WriteAllTextAsync(scene.File("pull.sock"), "precious", Token);
        var file = await Assert.ThrowsAsync<BackupException>(() => scene.Service.BeginAsync(scene.Pull(), Token));
        Assert.Contains("is no socket", file.Message, StringComparison.Ordinal);
        Assert.Equal("precious", await File.ReadAllTextAsync(scene.File("pull.sock"), Token));

        // What a server that is gone has left may be replaced.
        File.Delete(scene.File("pull.sock"));
        using (var gone = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            gone.Bind(new UnixDomainSocketEndPoint(scene.File("left.sock")));
            File.Move(scene.File("left.sock"), scene.File("pull.sock"));
        }

        Assert.True(Path.Exists(scene.File("pull.sock")));
        await scene.Service.BeginAsync(scene.Pull(), Token);
        await scene.Service.AbortAsync(givesUp: false, Token);
        await scene.NothingIsLeftAsync();
    }

    /// <summary>The machine is switched off in a pull: its bitmaps are stored, also the new checkpoint's.</summary>
    [Fact]
    public async Task A_hypervisor_that_shuts_down_ends_the_backup_as_failed_and_costs_no_checkpoint()
    {
        await using var scene = await DomainScene.StartAsync(embedded: false, nbd: false, "vda");
        await scene.Checkpoints.CreateAsync(new CheckpointDefinition { Name = "c1" }, null, Token);
        await scene.Service.BeginAsync(scene.Pull("c1", "c2"), Token);
        await scene.Daemon.QuitAsync();
        await scene.Daemon.StartAsync();
        Assert.Null(await scene.Service.ReadJobAsync(Token));
        Assert.Equal(JobResult.Failed, (await scene.Service.ReadCompletedAsync(Token))!.Result);
        Assert.Equal("c1:Valid*", await scene.ListAsync());
        Assert.Equal(["c1"], (await scene.Daemon.BitmapsAsync()).Select(bitmap => bitmap.Name));
        await scene.NothingIsLeftAsync();
        var next = await scene.RunAsync(scene.Push("inc", "c1", "c2"));
        Assert.Equal((JobResult.Completed, true), (next.Result!.Value, next.Disks[0].IsIncremental));
    }

    [Fact]
    public async Task A_disk_that_was_grown_is_an_increment_of_its_new_size()
    {
        await using var scene = await DomainScene.StartAsync(embedded: false, nbd: true, "vda");
        await scene.Checkpoints.CreateAsync(new CheckpointDefinition { Name = "c1" }, null, Token);
        await ResizeAsync(scene, "vda", 12 << 20);
        await scene.Daemon.WriteAsync("vda", "write -q -P 3 11M 64k");
        var job = await scene.RunAsync(scene.Push("inc", "c1"));
        Assert.Equal((JobResult.Completed, true), (job.Result!.Value, job.Disks[0].IsIncremental));
        await Tool.RunOkAsync("qemu-io", "-r", "-c", "read -P 3 11M 64k", "-c", "read -P 0 0 11M", scene.File("inc"));
    }

    /// <summary>libvirt fails here: bitmaps of different sizes cannot be merged.</summary>
    [Fact]
    public async Task A_disk_that_was_grown_after_a_snapshot_is_read_whole_and_that_is_said()
    {
        await using var scene = await DomainScene.StartAsync(embedded: false, nbd: true, "vda");
        await scene.Daemon.WriteAsync("vda", "write -q -P 1 0 1M");
        await scene.Checkpoints.CreateAsync(new CheckpointDefinition { Name = "c1" }, null, Token);
        await scene.Changes.SnapshotAsync("s1", [], false, Token);
        await ResizeAsync(scene, (await scene.Service.ListDisksAsync(Token))[0].Node.Name, 12 << 20);
        await scene.Daemon.WriteAsync("vda", "write -q -P 3 11M 64k");
        var job = await scene.RunAsync(scene.Push("whole", "c1", "c2"));
        Assert.Equal((JobResult.Completed, false), (job.Result!.Value, job.Disks[0].IsIncremental));
        Assert.Contains("size", job.Disks[0].Reason, StringComparison.Ordinal);
        await Tool.RunOkAsync(
            "qemu-io", "-r", "-c", "read -P 1 0 1M", "-c", "read -P 3 11M 64k", scene.File("whole"));
        await scene.Daemon.WriteAsync("vda", "write -q -P 4 10M 64k");
        Assert.Equal(65536, (await scene.RunAsync(scene.Push("inc", "c2"))).DoneBytes);
    }

    /// <summary>Somebody else's file has the name of one that we made: it is not ours to delete.</summary>
    [Theory]
    [InlineData(BackupMode.Pull)]
    [InlineData(BackupMode.Push)]
    public async Task A_file_that_took_the_name_of_ours_is_not_deleted(BackupMode mode)
    {
        await using var scene = await DomainScene.StartAsync(embedded: false, nbd: false, "vda");
        var path = scene.File(mode == BackupMode.Pull ? "vda.scratch" : "full");
        await scene.Service.BeginAsync(
            mode == BackupMode.Pull ? scene.Pull(checkpoint: "c1") : scene.Push("full", checkpoint: "c1"), Token);
        File.Delete(path);
        await File.WriteAllTextAsync(path, "somebody's", Token);

        // The hypervisor is gone with the jobs: a scratch would be deleted, a target put aside.
        await scene.Daemon.KillAsync();
        await scene.Daemon.StartAsync();
        Assert.Null(await scene.Service.ReadJobAsync(Token));
        Assert.Equal("somebody's", await File.ReadAllTextAsync(path, Token));
        Assert.False(File.Exists(path + JobSettler.UnverifiedSuffix));
        File.Delete(path);
        await scene.NothingIsLeftAsync();
    }

    [Fact]
    public async Task A_raw_disk_takes_part_in_a_full_and_in_no_checkpoint()
    {
        await using var scene = await DomainScene.StartAsync(embedded: false, nbd: true, "vda");
        await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "raw", scene.File("raw"), "4M");
        await scene.Daemon.ExecuteAsync("blockdev-add", new JsonObject
        {
            ["driver"] = "raw",
            ["node-name"] = "vdb",
            ["file"] = new JsonObject { ["driver"] = "file", ["filename"] = scene.File("raw") },
        });
        await scene.Daemon.ExecuteAsync("block-export-add", (JsonObject)JsonNode.Parse(
            """{"type": "nbd", "id": "guest-vdb", "node-name": "vdb", "name": "vdb", "writable": true}""")!);
        await scene.Daemon.WriteAsync("vdb", "write -q -P 5 0 1M");
        await scene.Checkpoints.CreateAsync(new CheckpointDefinition { Name = "c1" }, null, Token);
        Assert.Contains(scene.Notes, note => note.Contains("'vdb' takes no part", StringComparison.Ordinal));
        var job = await scene.RunAsync(scene.Push("full", disk: "vdb"));
        Assert.Equal(JobResult.Completed, job.Result);
        await Tool.RunOkAsync("qemu-io", "-r", "-c", "read -P 5 0 1M", scene.File("full"));
        var error = await Assert.ThrowsAsync<BackupException>(
            () => scene.Service.BeginAsync(scene.Push("inc", "c1", disk: "vdb"), Token));
        Assert.Contains("vdb", error.Message, StringComparison.Ordinal);
        var whole = await scene.RunAsync(scene.Push("inc", "c1", disk: "vdb") with { FallBackToFull = true });
        Assert.Equal((JobResult.Completed, false), (whole.Result!.Value, whole.Disks[0].IsIncremental));
    }

    private static void SkipUnlessMountable() => Assert.SkipUnless(
        Environment.IsPrivilegedProcess, "needs to mount a small tmpfs, which only root may");

    // QEMU lets no disk be resized that is exported.
    private static async Task ResizeAsync(DomainScene scene, string node, long size)
    {
        await scene.Daemon.ExecuteAsync("block-export-del", new JsonObject { ["id"] = "guest-vda", ["mode"] = "hard" });
        for (var attempt = 0; ; attempt++)
        {
            try
            {
                await scene.Daemon.ExecuteAsync(
                    "block_resize", new JsonObject { ["node-name"] = node, ["size"] = size });
                break;
            }
            catch (Qmp.QmpException) when (attempt < 200)
            {
                // The export holds the node for a moment longer.
                await Task.Delay(TimeSpan.FromMilliseconds(20), Token);
            }
        }

        await scene.Daemon.ExecuteAsync("block-export-add", new JsonObject
        {
            ["type"] = "nbd",
            ["id"] = "guest-vda",
            ["node-name"] = node,
            ["name"] = "vda",
            ["writable"] = true,
        });
    }

    private static BackupBegin Request(string xml, string? checkpoint = null) => new()
    {
        Backup = BackupXml.Parse(xml),
        Checkpoint = checkpoint is null ? null : new CheckpointDefinition { Name = checkpoint },
    };
}
