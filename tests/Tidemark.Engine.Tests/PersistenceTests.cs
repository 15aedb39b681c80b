using Tidemark.Engine.Tests.Harness;
using Xunit;

namespace Tidemark.Engine.Tests;

public sealed class PersistenceTests
{
    [Fact]
    public async Task Bitmaps_outlive_the_engine_with_their_counts_and_flags()
    {
        await using var scene = await EngineScene.StartAsync();
        await scene.AddImageAsync("disk");
        await scene.DoAsync("block-dirty-bitmap-add", "{'node':'disk','name':'on','persistent':true}");
        await scene.DoAsync(
            "block-dirty-bitmap-add",
            "{'node':'disk','name':'off','persistent':true,'disabled':true,'granularity':32768}");
        await scene.DoAsync("block-dirty-bitmap-add", "{'node':'disk','name':'gone'}");
        await WriteAsync(scene, 9);
        var content = await scene.ReadNodeAsync("disk");
        await scene.RestartAsync();
        await scene.AddImageAsync("disk");
        var on = await scene.BitmapAsync("disk", "on");
        Assert.Equal(65536, on.GetProperty("count").GetInt64());
        Assert.True(on.GetProperty("recording").GetBoolean());
        Assert.True(on.GetProperty("persistent").GetBoolean());
        var off = await scene.BitmapAsync("disk", "off");
        Assert.Equal(0, off.GetProperty("count").GetInt64());
        Assert.Equal(32768, off.GetProperty("granularity").GetInt64());
        Assert.False(off.GetProperty("recording").GetBoolean());
        Assert.Equal(default, await scene.BitmapAsync("disk", "gone"));
        await scene.StartServerAsync();
        Assert.Equal(content, await scene.ReadNodeAsync("disk"));
    }

    [Fact]
    public async Task The_image_of_an_engine_that_died_has_inconsistent_bitmaps_that_can_only_be_removed()
    {
        await using var scene = await EngineScene.StartAsync();
        await scene.AddImageAsync("disk");
        await scene.DoAsync("block-dirty-bitmap-add", "{'node':'disk','name':'b','persistent':true}");
        await scene.RestartAsync();
        await scene.AddImageAsync("disk");
        await WriteAsync(scene, 10);

        // A copy of the file while it is open is what a crash leaves behind.
        File.Copy(scene.File("disk"), scene.File("crashed"));
        await scene.AddImageAsync("crashed");
        var bitmap = await scene.BitmapAsync("crashed", "b");
        Assert.True(bitmap.GetProperty("inconsistent").GetBoolean());
        Assert.False(bitmap.GetProperty("recording").GetBoolean());
        await scene.AddImageAsync("target");
        foreach (var (command, arguments) in ((string, string)[])[
            ("block-dirty-bitmap-enable", "{'node':'crashed','name':'b'}"),
            ("block-dirty-bitmap-clear", "{'node':'crashed','name':'b'}"),
            ("blockdev-backup",
                "{'job-id':'j','device':'crashed','target':'target','sync':'incremental','bitmap':'b'}")])
        {
            Assert.Equal("Bitmap 'b' is inconsistent and cannot be used", await scene.RefusedAsync(command, arguments));
        }

        await scene.DoAsync("block-dirty-bitmap-remove", "{'node':'crashed','name':'b'}");
        Assert.Equal(default, await scene.BitmapAsync("crashed", "b"));
    }

    [Fact]
    public async Task A_bitmap_that_a_job_uses_at_the_end_is_stored_with_all_that_it_had()
    {
        await using var scene = await EngineScene.StartAsync();
        await scene.AddImageAsync("disk");
        await scene.AddImageAsync("target");
        await scene.DoAsync("block-dirty-bitmap-add", "{'node':'disk','name':'b','persistent':true}");
        await WriteAsync(scene, 11);
        await scene.DoAsync(
            "blockdev-backup",
            "{'job-id':'j','device':'disk','target':'target','sync':'incremental','bitmap':'b','auto-finalize':false}");
        await scene.WaitForAsync("BLOCK_JOB_PENDING", _ => true);
        await scene.RestartAsync();
        await scene.AddImageAsync("disk");
        Assert.Equal(65536, await scene.CountAsync("disk", "b"));
    }

    [Fact]
    public async Task The_backing_file_of_the_header_is_opened_and_goes_with_the_overlay()
    {
        await using var scene = await EngineScene.StartAsync();
        await scene.AddImageAsync("base");
        await WriteAsync(scene, 12, "base");
        var content = await scene.ReadNodeAsync("base");
        await scene.RemoveImageAsync("base");
        await scene.CreateAsync("{'driver':'file','filename':'DIR/top','size':0}");
        await scene.DoAsync("blockdev-add", "{'driver':'file','node-name':'f','filename':'DIR/top'}");
        await scene.CreateAsync(
            $"{{'driver':'qcow2','file':'f','size':{EngineScene.DiskLength},"
            + "'backing-file':'base','backing-fmt':'qcow2'}");
        await scene.DoAsync("blockdev-add", "{'driver':'qcow2','node-name':'top','file':'f'}");
        Assert.Equal(content, await scene.ReadNodeAsync("top"));
        Assert.Equal(scene.File("base"), (await scene.NodeAsync("top")).GetProperty("backing_file").GetString());
        Assert.Equal(4, (await scene.NodeNamesAsync()).Length);
        var below = (await scene.NodeNamesAsync())[0];
        Assert.Equal(
            $"Node {below} is not owned by the monitor",
            await scene.RefusedAsync("blockdev-del", $"{{'node-name':'{below}'}}"));
        await scene.DoAsync("blockdev-del", "{'node-name':'top'}");
        Assert.Equal(["f"], await scene.NodeNamesAsync());
    }

    [Fact]
    public async Task An_image_that_is_open_elsewhere_is_refused()
    {
        await using var scene = await EngineScene.StartAsync();
        await scene.AddImageAsync("disk");
        Assert.Contains("lock", await scene.RefusedAsync(
            "blockdev-add", "{'driver':'file','node-name':'again','filename':'DIR/disk'}"), StringComparison.Ordinal);
        Assert.Contains("lock", await scene.RefusedAsync(
            "blockdev-add", "{'driver':'file','node-name':'again','filename':'DIR/disk','read-only':true}"),
            StringComparison.Ordinal);
        Assert.Equal("force-share=on can only be used with read-only images", await scene.RefusedAsync(
            "blockdev-add", "{'driver':'file','node-name':'again','filename':'DIR/disk','force-share':true}"));
        await scene.DoAsync(
            "blockdev-add",
            "{'driver':'file','node-name':'look','filename':'DIR/disk','read-only':true,'force-share':true}");
    }

    [Fact]
    public async Task A_file_that_one_format_writes_is_refused_to_a_second()
    {
        await using var scene = await EngineScene.StartAsync();
        await scene.AddImageAsync("disk");
        Assert.StartsWith("Permission conflict on node 'disk-f'", await scene.RefusedAsync(
            "blockdev-add", "{'driver':'qcow2','node-name':'again','file':'disk-f'}"));
        Assert.Equal(["disk", "disk-f"], await scene.NodeNamesAsync());
    }

    // One write of 64 KiB at 1 MiB through the guest's export.
    private static async Task WriteAsync(EngineScene scene, int seed, string node = "disk")
    {
        await scene.StartServerAsync();
        await scene.ExportAsync(node, "guest", writable: true);
        await using (var guest = new Guest(await scene.ClientAsync("guest"), new Random(seed)))
        {
            await guest.WriteAsync(1 << 20, 65536);
        }

        await scene.UnexportAsync("guest");
    }
}
