using Tidemark.Engine.Tests.Harness;
using Xunit;

namespace Tidemark.Engine.Tests;

public sealed class TransactionTests
{
    [Fact]
    public async Task An_abort_leaves_nothing()
    {
        await using var scene = await EngineScene.StartAsync();
        await scene.AddImageAsync("disk");
        await scene.AddImageAsync("target");
        await scene.AddImageAsync("overlay");
        await scene.DoAsync("block-dirty-bitmap-add", "{'node':'disk','name':'old','persistent':true}");
        await scene.StartServerAsync();
        await scene.ExportAsync("disk", "guest", writable: true);
        await using (var guest = new Guest(await scene.ClientAsync("guest"), new Random(1)))
        {
            await guest.WriteAsync(0, 100_000);
        }

        var nodes = await scene.NodeNamesAsync();
        var refused = await scene.RefusedAsync("transaction", """
            {'actions': [
              {'type':'block-dirty-bitmap-add','data':{'node':'disk','name':'new','persistent':true}},
              {'type':'block-dirty-bitmap-merge','data':{'node':'disk','target':'new','bitmaps':['old']}},
              {'type':'block-dirty-bitmap-clear','data':{'node':'disk','name':'old'}},
              {'type':'block-dirty-bitmap-disable','data':{'node':'disk','name':'old'}},
              {'type':'blockdev-backup','data':{'job-id':'j','device':'disk','target':'target','sync':'full'}},
              {'type':'abort','data':{}}]}
            """);
        Assert.Equal("Transaction aborted using Abort action", refused);
        Assert.Equal(nodes, await scene.NodeNamesAsync());
        Assert.Equal(0, (await scene.DoAsync("query-jobs")).GetArrayLength());
        Assert.Equal("disk", (await scene.DoAsync("query-block-exports"))[0].GetProperty("node-name").GetString());
        var old = await scene.BitmapAsync("disk", "old");
        Assert.True(old.GetProperty("recording").GetBoolean());
        Assert.Equal(131072, old.GetProperty("count").GetInt64());
        Assert.Equal(default, await scene.BitmapAsync("disk", "new"));
        Assert.Single((await scene.NodeAsync("disk")).GetProperty("dirty-bitmaps").EnumerateArray());

        // Nothing keeps the target, and the guest still writes.
        await scene.RemoveImageAsync("target");
        await using var still = new Guest(await scene.ClientAsync("guest"), new Random(2));
        await still.WriteAsync(1 << 20, 4096);
        Assert.Equal(196608, await scene.CountAsync("disk", "old"));
    }

    [Fact]
    public async Task An_aborted_snapshot_gives_the_users_back_to_the_disk()
    {
        await using var scene = await EngineScene.StartAsync();
        await scene.AddImageAsync("disk");
        await scene.AddImageAsync("overlay");
        await scene.StartServerAsync();
        await scene.ExportAsync("disk", "guest", writable: true);
        await scene.RefusedAsync("transaction", """
            {'actions': [
              {'type':'blockdev-snapshot','data':{'node':'disk','overlay':'overlay'}},
              {'type':'block-dirty-bitmap-add','data':{'node':'overlay','name':'b'}},
              {'type':'block-dirty-bitmap-add','data':{'node':'overlay','name':'b'}}]}
            """);
        Assert.Equal("disk", (await scene.DoAsync("query-block-exports"))[0].GetProperty("node-name").GetString());
        Assert.False((await scene.NodeAsync("disk")).GetProperty("ro").GetBoolean());
        Assert.False((await scene.NodeAsync("overlay")).TryGetProperty("backing_file", out _));
        await scene.RemoveImageAsync("overlay");
    }

    [Fact]
    public async Task A_snapshot_moves_the_guest_to_the_overlay()
    {
        await using var scene = await EngineScene.StartAsync();
        await scene.AddImageAsync("disk");
        await scene.AddImageAsync("overlay");
        await scene.StartServerAsync();
        await scene.ExportAsync("disk", "guest", writable: true);
        await using var guest = new Guest(await scene.ClientAsync("guest"), new Random(3));
        await guest.WriteSomewhereAsync(20);
        var before = guest.Model.ToArray();
        await scene.DoAsync("blockdev-snapshot", "{'node':'disk','overlay':'overlay'}");
        await guest.WriteSomewhereAsync(20);
        Assert.Equal(guest.Model, await scene.ReadAsync("guest"));
        Assert.Equal(before, await scene.ReadNodeAsync("disk"));
        Assert.Equal("overlay", (await scene.DoAsync("query-block-exports"))[0].GetProperty("node-name").GetString());
        Assert.Equal("Block node is read-only", await scene.RefusedAsync(
            "block-export-add", "{'type':'nbd','id':'w','node-name':'disk','name':'w','writable':true}"));
    }

    /// <summary>What was written before the snapshot lies below the overlay, where the guest's flush does not go: it
    /// must be on disk by then. The files are copied as a killed engine leaves them.</summary>
    [Fact]
    public async Task A_flush_after_a_snapshot_holds_for_what_was_written_before_it()
    {
        await using var scene = await EngineScene.StartAsync();
        await scene.AddImageAsync("disk");
        await scene.AddImageAsync("over");
        await scene.AddImageAsync("top");
        await scene.StartServerAsync();
        await scene.ExportAsync("disk", "guest", writable: true);
        var client = await scene.ClientAsync("guest");
        await using var guest = new Guest(client, new Random(4));
        await guest.WriteSomewhereAsync(20);
        await scene.DoAsync("blockdev-snapshot", "{'node':'disk','overlay':'over'}");
        await guest.WriteSomewhereAsync(20);
        await scene.DoAsync("blockdev-snapshot", "{'node':'over','overlay':'top'}");
        await guest.WriteSomewhereAsync(20);
        await client.FlushAsync(TestContext.Current.CancellationToken);

        await using var next = await EngineScene.StartAsync();
        string? below = null;
        foreach (var layer in new[] { "disk", "over", "top" })
        {
            File.Copy(scene.File(layer), next.File(layer));
            await next.AddImageAsync(layer, below);
            below = layer;
        }

        await next.StartServerAsync();
        Assert.True(
            (await next.ReadNodeAsync("top")).AsSpan().SequenceEqual(guest.Model),
            "what the guest has flushed is not on disk");
    }

    [Fact]
    public async Task Nothing_happens_when_an_action_is_malformed()
    {
        await using var scene = await EngineScene.StartAsync();
        await scene.AddImageAsync("disk");
        Assert.Equal("Parameter 'actions[1].data.foo' is unexpected", await scene.RefusedAsync("transaction", """
            {'actions': [
              {'type':'block-dirty-bitmap-add','data':{'node':'disk','name':'b'}},
              {'type':'block-dirty-bitmap-add','data':{'node':'disk','name':'c','foo':1}}]}
            """));
        Assert.Equal(default, await scene.BitmapAsync("disk", "b"));
    }
}
