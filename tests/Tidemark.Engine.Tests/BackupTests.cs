using Tidemark.Engine.Tests.Harness;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Engine.Tests;

public sealed class BackupTests
{
    [Fact]
    public Task Push_full_and_incremental_under_writes_give_the_instants() => TestSeed.RunAsync(async random =>
    {
        await using var scene = await StartAsync();
        await using var guest = new Guest(await scene.ClientAsync("guest"), random);
        await guest.WriteSomewhereAsync(60);
        string? below = null;
        for (var round = 0; round < 4; round++)
        {
            var target = $"t{round}";
            await scene.AddImageAsync(target, below);
            var instant = guest.Model.ToArray();
            var add = round == 0
                ? "{'type':'block-dirty-bitmap-add','data':{'node':'disk','name':'b','persistent':true} },"
                : "";
            var sync = round == 0 ? "'sync':'full'" : "'sync':'incremental','bitmap':'b'";
            await scene.DoAsync("transaction", $$"""
                {'actions': [{{add}}
                  {'type':'blockdev-backup','data':{'job-id':'j','device':'disk','target':'{{target}}',
                    {{sync}},'auto-dismiss':false} }]}
                """);
            await guest.WriteSomewhereAsync(25);
            Assert.Null(await scene.ConcludeAsync("j"));
            Assert.Equal(instant, await scene.ReadNodeAsync(target));
            below = target;
        }

        Assert.Equal(guest.Model, await scene.ReadAsync("guest"));
        Assert.DoesNotContain(await scene.NodeNamesAsync(), name => name.StartsWith('#'));
    });

    [Fact]
    public Task Pull_full_and_incremental_under_writes_show_the_instant() => TestSeed.RunAsync(async random =>
    {
        await using var scene = await StartAsync();
        await using var guest = new Guest(await scene.ClientAsync("guest"), random);
        await guest.WriteSomewhereAsync(60);
        await scene.DoAsync("block-dirty-bitmap-add", "{'node':'disk','name':'c0','persistent':true}");
        var copy = guest.Model.ToArray();
        for (var round = 0; round < 3; round++)
        {
            await guest.WriteSomewhereAsync(10);
            var instant = guest.Model.ToArray();
            await scene.AddImageAsync("scratch", "disk");
            await scene.DoAsync("transaction", $$"""
                {'actions': [
                  {'type':'block-dirty-bitmap-add','data':{'node':'scratch','name':'tmp','disabled':true} },
                  {'type':'block-dirty-bitmap-merge','data':{'node':'scratch','target':'tmp','bitmaps':[
                      {'node':'disk','name':'c{{round}}'}]} },
                  {'type':'block-dirty-bitmap-disable','data':{'node':'disk','name':'c{{round}}'} },
                  {'type':'block-dirty-bitmap-add','data':{'node':'disk','name':'c{{round + 1}}','persistent':true} },
                  {'type':'blockdev-backup','data':{'job-id':'j','device':'disk','target':'scratch',
                    'sync':'none','auto-dismiss':false} }]}
                """);
            await scene.ExportAsync("scratch", "view", bitmaps: "['tmp']");
            await guest.WriteSomewhereAsync(30);
            var view = await scene.ReadAsync("view");
            Assert.Equal(instant, view);

            // What is clean in the bitmap has not changed since the instant before: the copy plus the dirty ranges is
            // the view.
            foreach (var (offset, length) in await scene.DirtyAsync("view", "tmp"))
            {
                view.AsSpan((int)offset, (int)length).CopyTo(copy.AsSpan((int)offset));
            }

            Assert.Equal(instant, copy);
            await scene.UnexportAsync("view");
            await scene.DoAsync("block-job-cancel", "{'device':'j','force':true}");
            Assert.Equal("Operation canceled", await scene.ConcludeAsync("j"));
            await scene.RemoveImageAsync("scratch");
            File.Delete(scene.File("scratch"));
        }

        Assert.Equal(guest.Model, await scene.ReadAsync("guest"));
        Assert.Equal(["disk", "disk-f"], await scene.NodeNamesAsync());
    });

    [Fact]
    public Task Copy_before_write_and_snapshot_access_show_the_instant() => TestSeed.RunAsync(async random =>
    {
        await using var scene = await EngineScene.StartAsync();
        await scene.AddImageAsync("disk");
        await scene.DoAsync("blockdev-add", "{'driver':'raw','node-name':'top','file':'disk'}");
        await scene.StartServerAsync();
        await scene.ExportAsync("top", "guest", writable: true);
        await using var guest = new Guest(await scene.ClientAsync("guest"), random);
        await guest.WriteSomewhereAsync(40);
        await scene.AddImageAsync("scratch");
        await scene.DoAsync(
            "blockdev-add", "{'driver':'copy-before-write','node-name':'cbw','file':'disk','target':'scratch'}");
        await scene.DoAsync("blockdev-reopen", "{'options':[{'driver':'raw','node-name':'top','file':'cbw'}]}");
        var instant = guest.Model.ToArray();
        await scene.DoAsync("blockdev-add", "{'driver':'snapshot-access','node-name':'frozen','file':'cbw'}");
        await scene.ExportAsync("frozen", "view");
        await guest.WriteSomewhereAsync(40);
        Assert.Equal(instant, await scene.ReadAsync("view"));

        // Who wrote past the filter would destroy the view: refused.
        Assert.StartsWith("Permission conflict on node 'disk'", await scene.RefusedAsync(
            "block-export-add", "{'type':'nbd','id':'w','node-name':'disk','name':'w','writable':true}"));
        await scene.UnexportAsync("view");
        await scene.DoAsync("blockdev-del", "{'node-name':'frozen'}");
        await scene.DoAsync("blockdev-reopen", "{'options':[{'driver':'raw','node-name':'top','file':'disk'}]}");
        await scene.DoAsync("blockdev-del", "{'node-name':'cbw'}");
        await guest.WriteSomewhereAsync(10);
        Assert.Equal(guest.Model, await scene.ReadAsync("guest"));
    });

    [Fact]
    public async Task A_target_without_space_ends_the_job_and_keeps_the_bitmap()
    {
        await using var scene = await StartAsync();
        await using var guest = new Guest(await scene.ClientAsync("guest"), new Random(5));
        await scene.DoAsync("block-dirty-bitmap-add", "{'node':'disk','name':'b'}");
        await guest.WriteAsync(0, 1 << 20);
        await scene.AddTooSmallImageAsync("target");
        await scene.DoAsync(
            "blockdev-backup",
            "{'job-id':'j','device':'disk','target':'target','sync':'incremental','bitmap':'b','auto-dismiss':false}");
        Assert.NotNull(await scene.ConcludeAsync("j"));
        await guest.WriteAsync(4 << 20, 65536);
        var bitmap = await scene.BitmapAsync("disk", "b");
        Assert.Equal((1 << 20) + 65536, bitmap.GetProperty("count").GetInt64());
        Assert.False(bitmap.GetProperty("busy").GetBoolean());
        Assert.DoesNotContain(await scene.NodeNamesAsync(), name => name.StartsWith('#'));
        Assert.Equal(guest.Model, await scene.ReadAsync("guest"));
    }

    [Fact]
    public async Task A_scratch_without_space_breaks_the_snapshot_and_not_the_guest()
    {
        await using var scene = await StartAsync();
        await using var guest = new Guest(await scene.ClientAsync("guest"), new Random(6));
        await guest.WriteAsync(0, 4 << 20);
        await scene.AddTooSmallImageAsync("scratch", "disk");
        await scene.DoAsync(
            "blockdev-backup", "{'job-id':'j','device':'disk','target':'scratch','sync':'none','auto-dismiss':false}");
        await scene.ExportAsync("scratch", "view");
        await guest.WriteAsync(0, 4 << 20);
        Assert.Contains("the snapshot is broken", await scene.ConcludeAsync("j"), StringComparison.Ordinal);
        Assert.Equal(guest.Model, await scene.ReadAsync("guest"));
        await Assert.ThrowsAsync<Nbd.Protocol.NbdException>(() => scene.ReadAsync("view"));
        Assert.DoesNotContain(await scene.NodeNamesAsync(), name => name.StartsWith('#'));
    }

    [Theory]
    [InlineData("never", 131072)]
    [InlineData("on-success", 65536)]
    [InlineData("always", 65536)]
    public async Task The_bitmap_mode_decides_what_a_success_leaves(string mode, long expected)
    {
        await using var scene = await StartAsync();
        await using var guest = new Guest(await scene.ClientAsync("guest"), new Random(7));
        await scene.DoAsync("block-dirty-bitmap-add", "{'node':'disk','name':'b'}");
        await guest.WriteAsync(0, 65536);
        await scene.AddImageAsync("target");
        await scene.DoAsync(
            "blockdev-backup",
            $"{{'job-id':'j','device':'disk','target':'target','sync':'bitmap','bitmap':'b','bitmap-mode':'{mode}',"
            + "'auto-dismiss':false,'auto-finalize':false}");
        await scene.WaitForAsync("BLOCK_JOB_PENDING", _ => true);
        await guest.WriteAsync(1 << 20, 65536);
        Assert.True((await scene.BitmapAsync("disk", "b")).GetProperty("busy").GetBoolean());
        Assert.Equal(
            "Bitmap 'b' is currently in use by another operation and cannot be used",
            await scene.RefusedAsync("block-dirty-bitmap-remove", "{'node':'disk','name':'b'}"));
        await scene.DoAsync("job-finalize", "{'id':'j'}");
        Assert.Null(await scene.ConcludeAsync("j"));
        Assert.Equal(expected, await scene.CountAsync("disk", "b"));
    }

    [Fact]
    public async Task A_cancelled_job_keeps_the_bitmap_and_leaves_nothing()
    {
        await using var scene = await StartAsync();
        await using var guest = new Guest(await scene.ClientAsync("guest"), new Random(8));
        await scene.DoAsync("block-dirty-bitmap-add", "{'node':'disk','name':'b'}");
        await guest.WriteAsync(0, 65536);
        await scene.AddImageAsync("target");
        await scene.DoAsync(
            "blockdev-backup",
            "{'job-id':'j','device':'disk','target':'target','sync':'incremental','bitmap':'b','auto-finalize':false}");
        await scene.WaitForAsync("BLOCK_JOB_PENDING", _ => true);
        await guest.WriteAsync(1 << 20, 65536);
        await scene.DoAsync("job-cancel", "{'id':'j'}");
        await scene.WaitForAsync("BLOCK_JOB_CANCELLED", _ => true);
        Assert.Equal(131072, await scene.CountAsync("disk", "b"));
        Assert.Equal(0, (await scene.DoAsync("query-jobs")).GetArrayLength());
        Assert.Single((await scene.NodeAsync("disk")).GetProperty("dirty-bitmaps").EnumerateArray());
        await scene.RemoveImageAsync("target");
    }

    [Fact]
    public async Task A_paused_job_waits_and_goes_on()
    {
        await using var scene = await StartAsync();
        await scene.AddImageAsync("scratch", "disk");
        await scene.DoAsync(
            "blockdev-backup", "{'job-id':'j','device':'disk','target':'scratch','sync':'none','auto-dismiss':false}");
        await scene.DoAsync("job-pause", "{'id':'j'}");
        Assert.Equal("Job is already paused", await scene.RefusedAsync("job-pause", "{'id':'j'}"));
        Assert.Equal("paused", (await scene.DoAsync("query-jobs"))[0].GetProperty("status").GetString());
        await scene.DoAsync("job-resume", "{'id':'j'}");
        await scene.DoAsync("job-cancel", "{'id':'j'}");
        Assert.Equal("Operation canceled", await scene.ConcludeAsync("j"));
    }

    [Fact]
    public async Task While_a_job_runs_the_exports_show_its_filter_and_its_nodes_stay()
    {
        await using var scene = await StartAsync();
        await scene.AddImageAsync("scratch", "disk");
        await scene.DoAsync(
            "blockdev-backup", "{'job-id':'j','device':'disk','target':'scratch','sync':'none','auto-dismiss':false}");
        var exported = (await scene.DoAsync("query-block-exports"))[0].GetProperty("node-name").GetString()!;
        Assert.StartsWith("#block", exported);
        Assert.Equal("copy-before-write", (await scene.NodeAsync(exported)).GetProperty("drv").GetString());
        foreach (var name in (string[])["disk", "scratch", exported])
        {
            Assert.Equal(
                $"Node '{name}' is busy: block device is in use by block job: backup",
                await scene.RefusedAsync("blockdev-del", $"{{'node-name':'{name}'}}"));
        }

        await scene.DoAsync("job-cancel", "{'id':'j'}");
        await scene.ConcludeAsync("j");
        Assert.Equal("disk", (await scene.DoAsync("query-block-exports"))[0].GetProperty("node-name").GetString());
    }

    [Fact]
    public async Task Nobody_may_write_past_a_jobs_filter_even_when_nobody_used_the_disk_before()
    {
        await using var scene = await EngineScene.StartAsync();
        await scene.AddImageAsync("disk");
        await scene.AddImageAsync("scratch", "disk");
        await scene.StartServerAsync();
        await scene.DoAsync(
            "blockdev-backup", "{'job-id':'j','device':'disk','target':'scratch','sync':'none','auto-dismiss':false}");
        Assert.StartsWith("Permission conflict on node 'disk'", await scene.RefusedAsync(
            "block-export-add", "{'type':'nbd','id':'w','node-name':'disk','name':'w','writable':true}"));
        await scene.ExportAsync("disk", "reader");
        await scene.UnexportAsync("reader");
        await scene.DoAsync("job-cancel", "{'id':'j'}");
        await scene.ConcludeAsync("j");
        await scene.ExportAsync("disk", "w", writable: true);
    }

    [Fact]
    public async Task A_guest_that_writes_all_the_time_is_in_one_instant_of_two_disks() =>
        await TestSeed.RunAsync(async random =>
    {
        await using var scene = await EngineScene.StartAsync();
        await scene.StartServerAsync();
        foreach (var name in (string[])["a", "b"])
        {
            await scene.AddImageAsync(name);
            await scene.AddImageAsync($"{name}-t");
            await scene.ExportAsync(name, name, writable: true);
        }

        // Numbered writes, first to a, then to b: at one instant b is never ahead of a, and at most one behind.
        using var stop = new CancellationTokenSource();
        await using var a = await scene.ClientAsync("a");
        await using var b = await scene.ClientAsync("b");
        var offset = random.Next(100) * 4096;
        var writing = Task.Run(async () =>
        {
            for (var number = 1; !stop.IsCancellationRequested; number++)
            {
                await a.WriteAsync(offset, BitConverter.GetBytes(number));
                await b.WriteAsync(offset, BitConverter.GetBytes(number));
            }
        });
        await Task.Delay(TimeSpan.FromMilliseconds(random.Next(20, 100)));
        await scene.DoAsync("transaction", """
            {'actions': [
              {'type':'blockdev-backup','data':{'job-id':'ja','device':'a','target':'a-t','sync':'full','auto-dismiss':false}},
              {'type':'blockdev-backup','data':{'job-id':'jb','device':'b','target':'b-t','sync':'full','auto-dismiss':false}}]}
            """);
        Assert.Null(await scene.ConcludeAsync("ja"));
        await stop.CancelAsync();
        await writing;
        while ((await scene.DoAsync("query-jobs")).EnumerateArray().Any(
            job => job.GetProperty("status").GetString() != "concluded"))
        {
            await Task.Delay(TimeSpan.FromMilliseconds(5));
        }

        var first = BitConverter.ToInt32(await scene.ReadNodeAsync("a-t"), offset);
        var second = BitConverter.ToInt32(await scene.ReadNodeAsync("b-t"), offset);
        Assert.InRange(first - second, 0, 1);
        Assert.True(first > 0);
    });

    private static async Task<EngineScene> StartAsync()
    {
        var scene = await EngineScene.StartAsync();
        await scene.AddImageAsync("disk");
        await scene.StartServerAsync();
        await scene.ExportAsync("disk", "guest", writable: true);
        return scene;
    }
}
