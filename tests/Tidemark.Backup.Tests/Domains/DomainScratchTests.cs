using Tidemark.Backup.Definitions;
using Tidemark.Backup.Domains;
using Tidemark.Backup.Journal;
using Tidemark.Backup.Xml;
using Tidemark.Testing;

namespace Tidemark.Backup.Tests.Domains;

/// <summary>A pull of <c>domain backup-begin</c> whose scratch finds no room, at a QEMU that would fail the guest's
/// write: whoever follows it ends it before.</summary>
[Trait("Category", "Interop")]
public sealed class DomainScratchTests
{
    private const int Megabytes = 128;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Who_follows_a_pull_ends_it_before_the_scratch_is_full()
    {
        await using var scene = await StartAsync();
        await using var small = await SmallAsync(scene, 112);
        var begun = await scene.Service.BeginAsync(Pull(scene), Token);
        Assert.Contains(scene.Notes, note => note.Contains("watched instead", StringComparison.Ordinal));
        var following = scene.Service.FollowAsync(begun.RunId, null, null, Token);
        var guest = await OverwriteAsync(scene);
        Assert.True(guest.ExitCode == 0, guest.Output + guest.Error);
        Assert.DoesNotContain("failed", guest.Output + guest.Error, StringComparison.Ordinal);
        var job = await following;
        Assert.Equal(JobResult.Failed, job.Result);
        Assert.Contains("runs full", job.Error, StringComparison.Ordinal);
        Assert.Equal("", await scene.ListAsync());
        Assert.Empty(Directory.EnumerateFileSystemEntries(small.Path));
        await scene.NothingIsLeftAsync();
    }

    [Fact]
    public async Task A_scratch_without_room_is_refused_before_anything_is_done()
    {
        await using var scene = await StartAsync();
        await using var small = await SmallAsync(scene, 32);
        var error = await Assert.ThrowsAsync<BackupException>(() => scene.Service.BeginAsync(Pull(scene), Token));
        Assert.Contains("for the scratch", error.Message, StringComparison.Ordinal);
        Assert.Equal("", await scene.ListAsync());
        await scene.NothingIsLeftAsync();
    }

    [Fact]
    public async Task The_next_command_ends_a_pull_that_nobody_watched_and_whose_room_runs_out()
    {
        await using var scene = await StartAsync();
        await using var small = await SmallAsync(scene, 112);
        await scene.Service.BeginAsync(Pull(scene), Token);

        // Somebody else fills the file system, and nobody follows.
        await File.WriteAllBytesAsync(Path.Combine(small.Path, "others"), new byte[64 << 20], Token);
        Assert.Null(await scene.Service.ReadJobAsync(Token));
        var job = await scene.Service.ReadCompletedAsync(Token);
        Assert.Equal(JobResult.Failed, job!.Result);
        Assert.Contains("runs full", job.Error, StringComparison.Ordinal);
        Assert.Equal("", await scene.ListAsync());
        await scene.NothingIsLeftAsync();
    }

    private static BackupBegin Pull(DomainScene scene) => new()
    {
        Backup = BackupXml.Parse(
            $"""
            <domainbackup mode='pull'><server transport='unix' socket='{scene.Daemon.NbdPath}'/>
            <disks><disk name='vda' type='file' exportname='view'><scratch file='{scene.File("small/scratch")}'/></disk>
            </disks></domainbackup>
            """),
        Checkpoint = new CheckpointDefinition { Name = "c1" },
        NbdRuns = true,
    };

    private static async Task<DomainScene> StartAsync()
    {
        Assert.SkipUnless(
            OperatingSystem.IsLinux() && Environment.IsPrivilegedProcess,
            "needs to mount a small tmpfs, which only root may");
        var scene = await DomainScene.StartSizedAsync($"{Megabytes}M", embedded: false, nbd: true, "vda");
        await scene.Daemon.WriteAsync("vda", $"write -q -P 7 0 {Megabytes}M");
        return scene;
    }

    private static async Task<SmallDirectory> SmallAsync(DomainScene scene, int megabytes)
    {
        var path = scene.File("small");
        Directory.CreateDirectory(path);
        await Tool.RunOkAsync("mount", "-t", "tmpfs", "-o", $"size={megabytes}m", "tidemark-test", path);
        return new SmallDirectory(path);
    }

    private static Task<ToolResult> OverwriteAsync(DomainScene scene)
    {
        List<string> arguments = ["-f", "raw"];
        for (var at = 0; at < Megabytes; at++)
        {
            arguments.AddRange(["-c", $"write -q -P 9 {at}M 1M"]);
        }

        arguments.Add($"nbd+unix:///vda?socket={scene.Daemon.NbdPath}");
        return Tool.RunAsync("qemu-io", arguments);
    }

    private sealed class SmallDirectory(string path) : IAsyncDisposable
    {
        internal string Path => path;

        public async ValueTask DisposeAsync() => await Tool.RunAsync("umount", ["-l", path]);
    }
}
