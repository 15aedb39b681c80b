using Tidemark.Engine.Tests.Harness;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Engine.Tests.Chains;

/// <summary>Commit, stream and mirror under guests that write all the time, before, during and after the pivot: not a
/// byte of theirs is lost, the bitmaps name every write, and the images read the same after a restart.</summary>
public sealed class ChainJobTests
{
    private static readonly string[] s_layers = ["base", "mid", "disk"];

    [Fact]
    public Task An_active_commit_loses_no_write() => TestSeed.RunAsync(async random =>
    {
        await using var scene = await EngineScene.StartAsync();
        var model = await AddChainAsync(scene, random);
        await using (var writers = await Writers.StartAsync(scene, "guest", model, random))
        {
            await scene.DoAsync(
                "block-commit", "{'job-id':'j','device':'disk','base-node':'base','auto-dismiss':false}");
            await ReadyAsync(scene);
            await writers.WriteMoreAsync(20);
            await scene.DoAsync("block-dirty-bitmap-add", "{'node':'base','name':'since','persistent':true}");
            await writers.EachWritesAsync();
            var before = writers.Model.ToArray();
            await writers.WriteMoreAsync(20);
            await scene.DoAsync("job-complete", "{'id':'j'}");
            Assert.Null(await scene.ConcludeAsync("j"));
            Assert.Equal("base", await ExportedAsync(scene));
            await writers.WriteMoreAsync(20);
            await writers.StopAsync();
            await MarkedAsync(scene, "base", before, model);
        }

        Same(model, await scene.ReadAsync("guest"));
        await scene.RemoveImageAsync("disk");
        await scene.RemoveImageAsync("mid");
        await scene.RestartAsync();
        await scene.AddImageAsync("base");
        await scene.StartServerAsync();
        Same(model, await scene.ReadNodeAsync("base"));
    });

    [Fact]
    public Task A_commit_that_ends_gently_leaves_a_copy_and_the_disk_as_it_was() => TestSeed.RunAsync(async random =>
    {
        await using var scene = await EngineScene.StartAsync();
        var model = await AddChainAsync(scene, random);
        await scene.DoAsync("block-commit", "{'job-id':'j','device':'disk','base-node':'mid','auto-dismiss':false}");
        await ReadyAsync(scene);
        await using var guest = new Guest(await scene.ClientAsync("guest"), random);
        model.CopyTo(guest.Model, 0);
        await guest.WriteSomewhereAsync(20);
        await scene.DoAsync("block-job-cancel", "{'device':'j'}");
        Assert.Null(await scene.ConcludeAsync("j"));
        Assert.Equal("disk", await ExportedAsync(scene));
        Same(guest.Model, await scene.ReadNodeAsync("mid"));
        Assert.True((await scene.NodeAsync("mid")).GetProperty("ro").GetBoolean());
        await guest.WriteSomewhereAsync(20);
        Same(guest.Model, await scene.ReadAsync("guest"));
        Assert.False((await scene.NodeAsync("disk")).TryGetProperty("dirty-bitmaps", out _));
    });

    [Theory]
    [InlineData("job-cancel", "{'id':'j'}")]
    [InlineData("block-job-cancel", "{'device':'j','force':true}")]
    public Task A_commit_that_is_cancelled_changes_nothing_that_can_be_read(string command, string arguments) =>
        TestSeed.RunAsync(async random =>
    {
        await using var scene = await EngineScene.StartAsync();
        var model = await AddChainAsync(scene, random);
        await scene.DoAsync("block-commit", "{'job-id':'j','device':'disk','base-node':'base','auto-dismiss':false}");
        await ReadyAsync(scene);
        await scene.DoAsync(command, arguments);
        Assert.Equal("Operation canceled", await scene.ConcludeAsync("j"));
        Assert.Equal("disk", await ExportedAsync(scene));
        Same(model, await scene.ReadAsync("guest"));
        Assert.True((await scene.NodeAsync("base")).GetProperty("ro").GetBoolean());
        await scene.DoAsync("block-dirty-bitmap-add", "{'node':'disk','name':'b','persistent':true}");
    });

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public Task A_commit_below_the_active_layer_loses_nothing(bool finalizes) => TestSeed.RunAsync(async random =>
    {
        await using var scene = await EngineScene.StartAsync();
        var model = await AddChainAsync(scene, random);
        await using (var writers = await Writers.StartAsync(scene, "guest", model, random))
        {
            var options = finalizes ? "" : ",'auto-finalize':false";
            await scene.DoAsync(
                "block-commit",
                "{'job-id':'j','device':'disk','top-node':'mid','base-node':'base','auto-dismiss':false"
                    + options + "}");
            if (!finalizes)
            {
                await scene.WaitForAsync("BLOCK_JOB_PENDING", _ => true);
                Assert.Equal(scene.File("mid"), await BackingNameAsync(scene));
                await scene.DoAsync("job-finalize", "{'id':'j'}");
            }

            Assert.Null(await scene.ConcludeAsync("j"));
            await writers.WriteMoreAsync(20);
            await writers.StopAsync();
        }

        Same(model, await scene.ReadAsync("guest"));
        Assert.Equal(scene.File("base"), await BackingNameAsync(scene));
        Assert.True((await scene.NodeAsync("base")).GetProperty("ro").GetBoolean());
        await scene.RemoveImageAsync("mid");
        await ReopenedAsync(scene, model);
    });

    [Theory]
    [InlineData(null)]
    [InlineData("base")]
    public Task A_stream_loses_no_write_and_marks_none_of_its_own(string? below) => TestSeed.RunAsync(async random =>
    {
        await using var scene = await EngineScene.StartAsync();
        var model = await AddChainAsync(scene, random);
        await scene.DoAsync("block-dirty-bitmap-add", "{'node':'disk','name':'since','persistent':true}");
        var before = model.ToArray();
        var target = below is null ? "" : $",'base-node':'{below}'";
        await using (var writers = await Writers.StartAsync(scene, "guest", model, random))
        {
            await scene.DoAsync("block-stream", $"{{'job-id':'j','device':'disk','auto-dismiss':false{target}}}");
            Assert.Null(await scene.ConcludeAsync("j"));
            await writers.StopAsync();
        }

        Same(model, await scene.ReadAsync("guest"));
        await MarkedAsync(scene, "disk", before, model);
        Assert.Equal(below is null ? null : scene.File("base"), await BackingNameAsync(scene));
        Assert.DoesNotContain(await scene.NodeNamesAsync(), name => name.StartsWith('#'));
        await scene.RemoveImageAsync("mid");
        await ReopenedAsync(scene, model);

        // Without a guest not a granule more is marked.
        await scene.DoAsync("block-dirty-bitmap-add", "{'node':'disk','name':'still','persistent':true}");
        await scene.DoAsync("block-stream", "{'job-id':'j','device':'disk','auto-dismiss':false}");
        Assert.Null(await scene.ConcludeAsync("j"));
        Assert.Equal(0, await scene.CountAsync("disk", "still"));
        Same(model, await scene.ReadAsync("guest"));
    });

    [Theory]
    [InlineData("full", null)]
    [InlineData("top", "mid")]
    public Task A_mirror_loses_no_write(string sync, string? below) => TestSeed.RunAsync(async random =>
    {
        await using var scene = await EngineScene.StartAsync();
        var model = await AddChainAsync(scene, random);
        await scene.AddImageAsync("copy", below);
        await using (var writers = await Writers.StartAsync(scene, "guest", model, random))
        {
            await scene.DoAsync(
                "blockdev-mirror",
                $"{{'job-id':'j','device':'disk','target':'copy','sync':'{sync}','auto-dismiss':false}}");
            await ReadyAsync(scene);
            await scene.DoAsync("block-dirty-bitmap-add", "{'node':'copy','name':'since','persistent':true}");
            await writers.EachWritesAsync();
            var before = writers.Model.ToArray();
            await writers.WriteMoreAsync(20);
            await scene.DoAsync("job-complete", "{'id':'j'}");
            Assert.Null(await scene.ConcludeAsync("j"));
            Assert.Equal("copy", await ExportedAsync(scene));
            await writers.WriteMoreAsync(20);
            await writers.StopAsync();
            await MarkedAsync(scene, "copy", before, model);
        }

        Same(model, await scene.ReadAsync("guest"));
        await scene.RemoveImageAsync("disk");
    });

    [Fact]
    public async Task A_target_without_space_ends_the_job_and_the_guest_goes_on()
    {
        await using var scene = await EngineScene.StartAsync();
        var model = await AddChainAsync(scene, new Random(3));
        await scene.AddTooSmallImageAsync("copy");
        await scene.DoAsync(
            "blockdev-mirror", "{'job-id':'j','device':'disk','target':'copy','sync':'full','auto-dismiss':false}");
        Assert.NotNull(await scene.ConcludeAsync("j"));
        Assert.Equal("disk", await ExportedAsync(scene));
        Same(model, await scene.ReadAsync("guest"));
        await scene.DoAsync("blockdev-del", "{'node-name':'copy'}");
    }

    [Fact]
    public async Task A_target_that_is_full_at_the_pivot_leaves_the_guest_where_it_was()
    {
        await using var scene = await EngineScene.StartAsync();
        await scene.AddImageAsync("disk");
        await scene.StartServerAsync();
        await scene.ExportAsync("disk", "guest", writable: true);
        await scene.AddTooSmallImageAsync("copy");
        await using var guest = new Guest(await scene.ClientAsync("guest"), new Random(4));
        await scene.DoAsync(
            "blockdev-mirror", "{'job-id':'j','device':'disk','target':'copy','sync':'full','auto-dismiss':false}");
        await ReadyAsync(scene);
        await scene.DoAsync("job-pause", "{'id':'j'}");
        await guest.WriteAsync(0, 2 << 20);
        await scene.DoAsync("job-resume", "{'id':'j'}");
        Assert.NotNull(await scene.ConcludeAsync("j"));
        Assert.Equal("disk", await ExportedAsync(scene));
        Same(guest.Model, await scene.ReadAsync("guest"));
    }

    [Fact]
    public async Task While_a_job_works_on_a_chain_nobody_changes_it()
    {
        await using var scene = await EngineScene.StartAsync();
        await AddChainAsync(scene, new Random(2));
        await scene.AddImageAsync("over");
        await scene.AddImageAsync("target");
        await scene.DoAsync("block-commit", "{'job-id':'j','device':'disk','base-node':'base','auto-dismiss':false}");
        await ReadyAsync(scene);
        const string Busy = "is busy: block device is in use by block job: commit";
        foreach (var (command, arguments) in ((string, string)[])
        [
            ("blockdev-snapshot", "{'node':'disk','overlay':'over'}"),
            ("blockdev-backup", "{'job-id':'k','device':'disk','target':'target','sync':'full'}"),
            ("block-stream", "{'job-id':'k','device':'disk'}"),
            ("block-commit", "{'job-id':'k','device':'disk','top-node':'mid','base-node':'base'}"),
            ("blockdev-mirror", "{'job-id':'k','device':'disk','target':'target','sync':'full'}"),
            ("blockdev-del", "{'node-name':'mid'}"),
            ("blockdev-reopen",
                "{'options':[{'driver':'qcow2','node-name':'disk','file':'disk-f','backing':'target'}]}"),
        ])
        {
            Assert.Contains(Busy, await scene.RefusedAsync(command, arguments), StringComparison.Ordinal);
        }

        await scene.DoAsync("job-complete", "{'id':'j'}");
        Assert.Null(await scene.ConcludeAsync("j"));
    }

    [Fact]
    public async Task What_would_change_the_disk_or_cannot_be_done_is_refused()
    {
        await using var scene = await EngineScene.StartAsync();
        await AddChainAsync(scene, new Random(1));
        await scene.AddImageAsync("large", length: EngineScene.DiskLength * 2);
        await scene.AddImageAsync("over", "large");
        foreach (var (command, arguments, words) in ((string, string, string)[])
        [
            ("block-commit", "{'job-id':'j','device':'over','base-node':'large'}", "more than the"),
            ("blockdev-mirror", "{'job-id':'j','device':'disk','target':'large','sync':'full'}", "different sizes"),
            ("blockdev-mirror", "{'job-id':'j','device':'mid','target':'disk','sync':'full'}", "into itself"),
            ("blockdev-mirror", "{'job-id':'j','device':'disk','target':'mid','sync':'none'}", "does not support"),
            ("block-commit", "{'job-id':'j','device':'disk','base':'x'}", "'base' is not supported"),
            ("block-commit", "{'job-id':'j','device':'disk','on-error':'stop'}", "only the value 'report'"),
            ("block-stream", "{'job-id':'j','device':'disk','base-node':'disk'}", "not a backing image"),
            ("block-stream", "{'job-id':'j','device':'disk-f'}", "nothing can be streamed"),
        ])
        {
            Assert.Contains(words, await scene.RefusedAsync(command, arguments), StringComparison.Ordinal);
        }

        Assert.Equal(0, (await scene.DoAsync("query-jobs")).GetArrayLength());
    }

    // base <- mid <- disk by external snapshots, each layer written to; the disk exported as "guest".
    private static async Task<byte[]> AddChainAsync(EngineScene scene, Random random)
    {
        await scene.StartServerAsync();
        byte[] model = new byte[EngineScene.DiskLength];
        for (var index = 0; index < s_layers.Length; index++)
        {
            await scene.AddImageAsync(s_layers[index], backingFile: index == 0 ? null : s_layers[index - 1]);
            if (index == 0)
            {
                await scene.ExportAsync(s_layers[0], "guest", writable: true);
            }
            else
            {
                await scene.DoAsync(
                    "blockdev-snapshot", $"{{'node':'{s_layers[index - 1]}','overlay':'{s_layers[index]}'}}");
            }

            await using var guest = new Guest(await scene.ClientAsync("guest"), random);
            model.CopyTo(guest.Model, 0);
            if (index == 0)
            {
                // Everywhere, so that a job has much under way while the guests write.
                await guest.WriteAsync(0, EngineScene.DiskLength);
            }

            await guest.WriteSomewhereAsync(25);
            model = guest.Model;
        }

        return model;
    }

    private static void Same(byte[] expected, byte[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        var same = expected.AsSpan().CommonPrefixLength(actual);
        Assert.True(same == expected.Length, $"the first difference is at offset {same}");
    }

    private static async Task ReadyAsync(EngineScene scene)
    {
        await scene.WaitForAsync("BLOCK_JOB_READY", _ => true);
        Assert.Equal("ready", (await scene.DoAsync("query-jobs"))[0].GetProperty("status").GetString());
    }

    private static async Task<string?> ExportedAsync(EngineScene scene) =>
        (await scene.DoAsync("query-block-exports"))[0].GetProperty("node-name").GetString();

    private static async Task<string?> BackingNameAsync(EngineScene scene) =>
        (await scene.NodeAsync("disk")).GetProperty("image").TryGetProperty("full-backing-filename", out var name)
            ? name.GetString()
            : null;

    // Every granule that differs between two contents is marked in the bitmap 'since'.
    private static async Task MarkedAsync(EngineScene scene, string node, byte[] before, byte[] now)
    {
        await scene.DoAsync("block-dirty-bitmap-disable", $"{{'node':'{node}','name':'since'}}");
        await scene.ExportAsync(node, "marks", bitmaps: "['since']");
        var dirty = await scene.DirtyAsync("marks", "since");
        await scene.UnexportAsync("marks");
        for (var offset = 0; offset < now.Length; offset += 4096)
        {
            if (!before.AsSpan(offset, 4096).SequenceEqual(now.AsSpan(offset, 4096)))
            {
                Assert.Contains(dirty, run => run.Offset <= offset && offset < run.Offset + run.Length);
            }
        }
    }

    // The engine anew, the disk opened by its name, what lies below it by the headers.
    private static async Task ReopenedAsync(EngineScene scene, byte[] model)
    {
        await scene.RestartAsync();
        await scene.AddImageAsync("disk", opensBacking: true);
        await scene.StartServerAsync();
        await scene.ExportAsync("disk", "guest", writable: true);
        Same(model, await scene.ReadAsync("guest"));
    }
}
