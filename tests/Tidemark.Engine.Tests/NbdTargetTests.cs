using Tidemark.Blocks.Graph;
using Tidemark.Engine.Tests.Harness;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Engine.Tests;

/// <summary>A push backup into an NBD server that stops answering or goes away: a write that is lost completes only
/// when its fate is known, which takes time, and the job, the bitmap and the guest bear that.</summary>
public sealed class NbdTargetTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    [Trait("Category", "Long")]
    public async Task A_job_whose_target_is_silent_can_be_cancelled_and_keeps_its_bitmap()
    {
        await using var scene = await StartAsync();
        await using var guest = new Guest(await scene.ClientAsync("guest"), new Random(5));
        var disk = await BeginAsync(scene, guest, out var server, out var hold);
        await using var _ = server;
        await WaitForRequestAsync(disk);
        await scene.DoAsync("job-cancel", "{'id':'j'}");
        Assert.NotNull(await scene.ConcludeAsync("j"));
        await CheckKeptAsync(scene, guest);
        hold.SetResult();
    }

    [Fact]
    public async Task A_job_whose_target_goes_away_fails_and_keeps_its_bitmap()
    {
        await using var scene = await StartAsync();
        await using var guest = new Guest(await scene.ClientAsync("guest"), new Random(6));
        var disk = await BeginAsync(scene, guest, out var server, out var hold);
        await using var _ = server;
        await WaitForRequestAsync(disk);
        var removing = server.RemoveExportAsync("t", NbdExportRemoval.Hard, Cancellation);
        hold.SetResult();
        await removing;
        Assert.NotNull(await scene.ConcludeAsync("j"));
        await CheckKeptAsync(scene, guest);
    }

    private static async Task<EngineScene> StartAsync()
    {
        var scene = await EngineScene.StartAsync();
        await scene.AddImageAsync("disk");
        await scene.StartServerAsync();
        await scene.ExportAsync("disk", "guest", writable: true);
        return scene;
    }

    // A job that copies a dirty MiB to a server whose disk waits.
    private static Task<FaultNode> BeginAsync(
        EngineScene scene, Guest guest, out NbdServer server, out TaskCompletionSource hold)
    {
        var waiting = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var graph = new BlockGraph();
        var memory = new MemoryNode("memory", new byte[EngineScene.DiskLength]);
        var disk = new FaultNode("disk", memory) { Hold = waiting.Task };
        graph.Add(memory);
        graph.Add(disk);
        var target = new NbdServer();
        target.AddExport(new NbdExport(
            "t", graph.CreateBackend(disk, "export"), new NbdExportOptions { Writable = true }));
        (server, hold) = (target, waiting);
        return RunAsync();

        async Task<FaultNode> RunAsync()
        {
            await target.ListenAsync(NbdEndPoint.ForUnix(scene.File("target")), Cancellation);
            await scene.DoAsync("block-dirty-bitmap-add", "{'node':'disk','name':'b'}");
            await guest.WriteAsync(0, 1 << 20);
            await scene.DoAsync(
                "blockdev-add",
                "{'driver':'nbd','node-name':'t','export':'t','server':{'type':'unix','path':'DIR/target'}}");
            await scene.DoAsync(
                "blockdev-backup",
                "{'job-id':'j','device':'disk','target':'t','sync':'incremental','bitmap':'b','auto-dismiss':false}");
            return disk;
        }
    }

    private static async Task WaitForRequestAsync(FaultNode disk)
    {
        while (disk.Requests == 0)
        {
            await Task.Delay(5, Cancellation);
        }
    }

    private static async Task CheckKeptAsync(EngineScene scene, Guest guest)
    {
        await guest.WriteAsync(4 << 20, 65536);
        var bitmap = await scene.BitmapAsync("disk", "b");
        Assert.Equal((1 << 20) + 65536, bitmap.GetProperty("count").GetInt64());
        Assert.False(bitmap.GetProperty("busy").GetBoolean());
        await scene.DoAsync("blockdev-del", "{'node-name':'t'}");
        Assert.DoesNotContain(await scene.NodeNamesAsync(), name => name.StartsWith('#'));
        Assert.Equal(guest.Model, await scene.ReadAsync("guest"));
    }
}
