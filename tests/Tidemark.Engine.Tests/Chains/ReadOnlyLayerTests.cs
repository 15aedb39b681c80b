using Tidemark.Blocks.Files;
using Tidemark.Engine.Tests.Harness;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Engine.Tests.Chains;

/// <summary>Layers that were opened below a disk, as its header names them, are read-only. A job that writes into one
/// of them makes it writable for as long as it takes, and <c>blockdev-reopen</c> does so for a client; what the layer
/// holds, its persistent bitmaps among it, is as sound afterwards as before.</summary>
public sealed class ReadOnlyLayerTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("block-commit", "'device':'disk','base-node':'BASE'", true)]
    [InlineData("block-commit", "'device':'disk','base-node':'MID'", true)]
    [InlineData("block-commit", "'device':'disk','base-node':'MID'", false)]
    [InlineData("block-commit", "'device':'disk','top-node':'MID','base-node':'BASE'", null)]
    [InlineData("block-stream", "'device':'MID','base-node':'BASE'", null)]
    [InlineData("block-stream", "'device':'MID'", null)]
    public Task A_job_writes_into_a_layer_that_was_opened_read_only(string command, string arguments, bool? pivots) =>
        TestSeed.RunAsync(async random =>
    {
        await using var scene = await EngineScene.StartAsync();
        var model = await OpenAsync(scene, random);
        var (mid, low) = (await LayerAsync(scene, "mid"), await LayerAsync(scene, "base"));
        var written = arguments.EndsWith("'base-node':'MID'", StringComparison.Ordinal)
            || arguments.Contains("'device':'MID'", StringComparison.Ordinal) ? mid : low;
        await using (var guest = new Guest(await scene.ClientAsync("guest"), random))
        {
            model.CopyTo(guest.Model, 0);
            await scene.DoAsync(
                command,
                "{'job-id':'j','auto-dismiss':false,"
                    + arguments.Replace("BASE", low, StringComparison.Ordinal)
                        .Replace("MID", mid, StringComparison.Ordinal) + "}");
            if (pivots is { } completes)
            {
                await scene.WaitForAsync("BLOCK_JOB_READY", _ => true);
                await guest.WriteSomewhereAsync(10);
                await scene.DoAsync(
                    completes ? "job-complete" : "block-job-cancel", completes ? "{'id':'j'}" : "{'device':'j'}");
            }

            Assert.Null(await scene.ConcludeAsync("j"));
            await guest.WriteSomewhereAsync(10);
            model = guest.Model;
        }

        Same(model, await scene.ReadAsync("guest"));
        Assert.Equal(pivots != true, await IsReadOnlyAsync(scene, written));
        Assert.Equal("ok", await StoredAsync(scene, written == low ? "base" : "mid", pivots == true));
        await scene.RestartAsync();
        var top = pivots != true ? "disk" : written == low ? "base" : "mid";
        await scene.AddImageAsync(top, opensBacking: true);
        Assert.Equal("recording", await BitmapAsync(scene, top));
        await scene.StartServerAsync();
        Same(model, await scene.ReadNodeAsync(top));
    });

    [Fact]
    public Task A_client_removes_a_bitmap_of_a_layer() => TestSeed.RunAsync(async random =>
    {
        await using var scene = await EngineScene.StartAsync();
        var model = await OpenAsync(scene, random);
        var low = await LayerAsync(scene, "base");
        const string Remove = "block-dirty-bitmap-remove";
        Assert.Contains("readonly", await scene.RefusedAsync(Remove, $"{{'node':'{low}','name':'layer'}}"));
        await ReopenAsync(scene, low, false);
        Assert.False(await IsReadOnlyAsync(scene, low));
        await scene.DoAsync(Remove, $"{{'node':'{low}','name':'layer'}}");
        await scene.DoAsync("block-dirty-bitmap-add", $"{{'node':'{low}','name':'other','persistent':true}}");
        await ReopenAsync(scene, low, true);
        Assert.True(await IsReadOnlyAsync(scene, low));
        Same(model, await scene.ReadAsync("guest"));
        using (var folder = new TemporaryDirectory())
        {
            // On disk already, and in step: what a power failure would leave.
            File.Copy(scene.File("base"), folder.File("crashed"));
            Assert.Equal(["other 65536 False"], await StoredBitmapsAsync(folder.File("crashed")));
        }
    });

    [Fact]
    public Task What_is_refused_changes_nothing() => TestSeed.RunAsync(async random =>
    {
        await using var scene = await EngineScene.StartAsync();
        var model = await OpenAsync(scene, random);
        var (mid, low) = (await LayerAsync(scene, "mid"), await LayerAsync(scene, "base"));
        var file = await FileAsync(scene, low);
        var reopened = $"{{'driver':'qcow2','node-name':'{low}','read-only':false,'file':'{file}','backing':null}}";
        Assert.Contains("Failed to find node", await scene.RefusedAsync(
            "blockdev-reopen",
            $"{{'options':[{reopened},{{'driver':'raw','node-name':'nowhere','file':'disk'}}]}}"));
        Assert.True(await IsReadOnlyAsync(scene, low));

        // Somebody reads the file and relies on it.
        await using (RawFileNode.Open("other", scene.File("base"), readOnly: true))
        {
            Assert.Contains("Failed to get \"write\" lock", await scene.RefusedAsync(
                "block-commit", $"{{'job-id':'j','device':'disk','top-node':'{mid}','base-node':'{low}'}}"));
        }

        Assert.True(await IsReadOnlyAsync(scene, low));
        await using (RawFileNode.Open("other", scene.File("base"), readOnly: true))
        {
            Assert.Equal(0, (await scene.DoAsync("query-jobs")).GetArrayLength());
        }

        Same(model, await scene.ReadAsync("guest"));
    });

    [Fact]
    public async Task A_file_that_is_read_only_by_its_own_word_stays_so()
    {
        await using var scene = await EngineScene.StartAsync();
        await scene.AddImageAsync("base");
        await scene.RemoveImageAsync("base");
        await scene.DoAsync(
            "blockdev-add",
            "{'driver':'qcow2','node-name':'base','read-only':true,'backing':null,"
                + "'file':{'driver':'file','filename':'DIR/base','node-name':'f','read-only':true}}");
        Assert.Equal(
            "Block node is read-only: 'f', the file of 'base', was opened so",
            await scene.RefusedAsync(
                "blockdev-reopen",
                "{'options':[{'driver':'qcow2','node-name':'base','read-only':false,'file':'f','backing':null}]}"));
        await scene.DoAsync("blockdev-add", "{'driver':'null-co','node-name':'n','size':65536,'read-only':true}");
        Assert.Contains("does not support that", await scene.RefusedAsync(
            "blockdev-reopen", "{'options':[{'driver':'null-co','node-name':'n','size':65536}]}"));
    }

    [Fact]
    public async Task A_disk_that_is_written_does_not_become_read_only()
    {
        await using var scene = await EngineScene.StartAsync();
        await scene.StartServerAsync();
        await scene.AddImageAsync("disk");
        await scene.DoAsync("block-dirty-bitmap-add", "{'node':'disk','name':'b','persistent':true}");
        await scene.ExportAsync("disk", "guest", writable: true);
        Assert.Contains("read-only", await scene.RefusedAsync(
            "blockdev-reopen",
            "{'options':[{'driver':'qcow2','node-name':'disk','read-only':true,'file':'disk-f','backing':null}]}"));
        await using var guest = new Guest(await scene.ClientAsync("guest"), new Random(1));
        await guest.WriteAsync(0, 4096);
        using var folder = new TemporaryDirectory();
        File.Copy(scene.File("disk"), folder.File("crashed"));
        Assert.Equal(["b 65536 True"], await StoredBitmapsAsync(folder.File("crashed")));
    }

    // base <- mid <- disk, each with data and a persistent bitmap 'layer' of its own, opened anew by the top's header.
    private static async Task<byte[]> OpenAsync(EngineScene scene, Random random)
    {
        await scene.StartServerAsync();
        byte[] model = new byte[EngineScene.DiskLength];
        string? below = null;
        foreach (var layer in (string[])["base", "mid", "disk"])
        {
            await scene.AddImageAsync(layer, backingFile: below);
            if (below is null)
            {
                await scene.ExportAsync(layer, "guest", writable: true);
            }
            else
            {
                await scene.DoAsync("blockdev-snapshot", $"{{'node':'{below}','overlay':'{layer}'}}");
            }

            await scene.DoAsync("block-dirty-bitmap-add", $"{{'node':'{layer}','name':'layer','persistent':true}}");
            await using var guest = new Guest(await scene.ClientAsync("guest"), random);
            model.CopyTo(guest.Model, 0);
            await guest.WriteSomewhereAsync(25);
            model = guest.Model;
            below = layer;
        }

        await scene.RestartAsync();
        await scene.AddImageAsync("disk", opensBacking: true);
        await scene.StartServerAsync();
        await scene.ExportAsync("disk", "guest", writable: true);
        foreach (var layer in (string[])["base", "mid"])
        {
            Assert.True(await IsReadOnlyAsync(scene, await LayerAsync(scene, layer)));
        }

        return model;
    }

    private static async Task ReopenAsync(EngineScene scene, string node, bool readOnly) => await scene.DoAsync(
        "blockdev-reopen",
        $"{{'options':[{{'driver':'qcow2','node-name':'{node}','read-only':{(readOnly ? "true" : "false")},"
            + $"'file':'{await FileAsync(scene, node)}','backing':null}}]}}");

    private static async Task<string> LayerAsync(EngineScene scene, string file) =>
        (await scene.DoAsync("query-named-block-nodes", "{'flat':true}")).EnumerateArray()
        .Single(node => node.GetProperty("drv").GetString() == "qcow2"
            && node.GetProperty("image").GetProperty("filename").GetString() == scene.File(file))
        .GetProperty("node-name").GetString()!;

    private static async Task<string> FileAsync(EngineScene scene, string node)
    {
        var path = (await scene.NodeAsync(node)).GetProperty("image").GetProperty("filename").GetString();
        return (await scene.DoAsync("query-named-block-nodes", "{'flat':true}")).EnumerateArray()
            .Single(one => one.GetProperty("drv").GetString() == "file"
                && one.GetProperty("image").GetProperty("filename").GetString() == path)
            .GetProperty("node-name").GetString()!;
    }

    private static async Task<bool> IsReadOnlyAsync(EngineScene scene, string node) =>
        (await scene.NodeAsync(node)).GetProperty("ro").GetBoolean();

    // What the layer's image would hold after a power failure now: in step if nobody may write it, not otherwise.
    private static async Task<string> StoredAsync(EngineScene scene, string layer, bool isWritable)
    {
        using var folder = new TemporaryDirectory();
        File.Copy(scene.File(layer), folder.File("crashed"));
        var stored = Assert.Single(await StoredBitmapsAsync(folder.File("crashed")));
        return stored == $"layer 65536 {isWritable}" ? "ok" : stored;
    }

    private static async Task<string[]> StoredBitmapsAsync(string path)
    {
        await using var file = RawFileNode.Open("look", path, readOnly: true);
        await using var node = await Qcow2.Qcow2Node.OpenAsync(
            "look-q", file, new Qcow2.Qcow2OpenOptions { ReadOnly = true, WithoutBacking = true }, Token);
        return [.. node.Bitmaps.Select(one => $"{one.Name} {one.Granularity} {one.IsInconsistent}")];
    }

    private static async Task<string> BitmapAsync(EngineScene scene, string node)
    {
        var bitmap = await scene.BitmapAsync(node, "layer");
        return bitmap.TryGetProperty("inconsistent", out _) ? "inconsistent"
            : bitmap.GetProperty("recording").GetBoolean() ? "recording" : "still";
    }

    private static void Same(byte[] expected, byte[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        var same = expected.AsSpan().CommonPrefixLength(actual);
        Assert.True(same == expected.Length, $"the first difference is at offset {same}");
    }
}
