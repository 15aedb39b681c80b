namespace Tidemark.Cli.Tests.QemuImg;

/// <summary>What <c>image convert</c> writes has the source's content and is clean; compare tells what
/// differs.</summary>
[Trait("Category", "Interop")]
[Trait("Category", "Long")]
public sealed class ConvertTests : IDisposable
{
    private readonly QemuImgScene _scene = new();

    public void Dispose() => _scene.Dispose();

    [Theory]
    [InlineData("-O", "raw")]
    [InlineData("-O", "raw", "-S", "0")]
    [InlineData("-O", "raw", "-S", "64k", "-m", "1")]
    [InlineData("-O", "raw", "-S", "16M")]
    [InlineData("-O", "qcow2")]
    [InlineData("-O", "qcow2", "-c")]
    [InlineData("-O", "qcow2", "-c", "-o", "compression_type=zstd", "-m", "4", "-W")]
    [InlineData("-O", "qcow2", "-o", "extended_l2=on,cluster_size=128k")]
    [InlineData("-O", "qcow2", "-o", "cluster_size=512,refcount_bits=1")]
    [InlineData("-O", "qcow2", "-o", "compat=0.10", "-p", "-U")]
    [InlineData("-O", "qcow2", "-o", "preallocation=metadata")]
    [InlineData("-O", "qcow2", "-t", "unsafe", "-q")]
    public async Task A_chain_keeps_its_content(params string[] options)
    {
        await _scene.CreateChainAsync();
        var output = await _scene.OursOkAsync(["convert", .. options, "@top.qcow2", "@ours"]);
        Assert.Equal(options.Contains("-p"), output.Contains("(100.00/100%)\r", StringComparison.Ordinal));
        await _scene.AssertSameContentAsync("@top.qcow2", "@ours");
        if (options.Contains("qcow2"))
        {
            await _scene.AssertCleanAsync("@ours");
            await _scene.TheirsOkAsync(QemuImgScene.Peer, ["convert", .. Theirs(options), "@top.qcow2", "@theirs"]);
            Assert.Equal(await FormatOfAsync("@theirs"), await FormatOfAsync("@ours"));
        }

        var same = await _scene.OursAsync("compare", "@top.qcow2", "@ours");
        Assert.Equal((0, "Images are identical.\n"), (same.ExitCode, same.Output));
    }

    [Fact]
    public async Task Only_the_top_is_copied_where_the_target_has_a_backing_file()
    {
        await _scene.CreateChainAsync();
        await _scene.OursOkAsync(
            "convert", "-O", "qcow2", "-B", "mid.qcow2", "-F", "qcow2", "@top.qcow2", "@ours.qcow2");
        await _scene.AssertSameContentAsync("@top.qcow2", "@ours.qcow2");
        await _scene.AssertCleanAsync("@ours.qcow2");
        var map = await _scene.OursOkAsync("map", "--json", "@ours.qcow2");
        Assert.Contains("\"depth\": 2", map, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_source_is_never_the_target()
    {
        await _scene.CreateChainAsync();
        foreach (var target in new[] { "@top.qcow2", "@base.qcow2", "@./mid.qcow2" })
        {
            var refused = await _scene.OursAsync("convert", "-U", "-O", "qcow2", "@top.qcow2", target);
            Assert.Equal(1, refused.ExitCode);
            Assert.Contains("cannot be the target", refused.Error, StringComparison.Ordinal);
        }

        var data = await _scene.OursAsync(
            "convert", "-U", "-O", "qcow2", "-o", "data_file=base.qcow2", "@top.qcow2", "@new.qcow2");
        Assert.Contains("cannot be the target", data.Error, StringComparison.Ordinal);
        await _scene.AssertCleanAsync("@base.qcow2");
    }

    [Fact]
    public async Task Several_sources_become_one_disk()
    {
        await _scene.CreateChainAsync();
        await File.WriteAllBytesAsync(_scene.File("odd.raw"), [1, 2, 3], TestContext.Current.CancellationToken);
        string[] sources = ["@top.qcow2", "@base.qcow2", "@odd.raw"];
        foreach (var options in new[] { new[] { "-O", "raw" }, ["-O", "qcow2", "-c"] })
        {
            await _scene.OursOkAsync(["convert", .. options, .. sources, "@ours"]);
            await _scene.TheirsOkAsync(QemuImgScene.Peer, ["convert", .. options, .. sources, "@theirs"]);
            await _scene.AssertSameContentAsync("@theirs", "@ours");
        }
    }

    [Fact]
    public async Task An_existing_target_is_written_over_everywhere()
    {
        await _scene.CreateChainAsync();
        await _scene.TheirsOkAsync(QemuImgScene.Peer, "create", "-q", "-f", "qcow2", "@old.qcow2", "5M");
        await _scene.IoAsync("@old.qcow2", "qcow2", "write -P 9 0 5M");
        await _scene.OursOkAsync("convert", "-n", "-O", "qcow2", "@top.qcow2", "@old.qcow2");
        await _scene.AssertCleanAsync("@old.qcow2");
        var rest = await _scene.TheirsAsync(QemuImgScene.Peer, "compare", "@top.qcow2", "@old.qcow2");

        // What lies behind the source's end is left as it was.
        Assert.Contains("mismatch at offset 4194304", rest.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_server_is_read_and_written()
    {
        await _scene.CreateChainAsync();
        await _scene.TheirsOkAsync(QemuImgScene.Peer, "create", "-q", "-f", "raw", "@disk.raw", "4M");
        await _scene.IoAsync("@disk.raw", "raw", "write -P 9 0 4M");
        var socket = _scene.File("s");
        using var server = await NbdServerProcess.StartAsync(socket, _scene.File("disk.raw"));
        var uri = $"nbd+unix:///?socket={socket}";
        await _scene.OursOkAsync("convert", "-O", "raw", "@top.qcow2", uri);
        await _scene.OursOkAsync("convert", "-f", "raw", "-O", "qcow2", uri, "@back.qcow2");
        await _scene.AssertSameContentAsync("@top.qcow2", "@back.qcow2");
        var same = await _scene.OursAsync("compare", "@top.qcow2", uri);
        Assert.Equal(0, same.ExitCode);
        Assert.Equal(
            await _scene.TheirsOkAsync(QemuImgScene.Peer, "info", "--output", "json", uri),
            await _scene.OursOkAsync("info", "--output", "json", uri));
        Assert.Equal(
            await _scene.TheirsOkAsync(QemuImgScene.Peer, "map", "--output", "json", uri),
            await _scene.OursOkAsync("map", "--output", "json", uri));
    }

    /// <summary>qemu-nbd turns away whoever comes when all its places are taken, and says that it takes several
    /// connections: two sources from one server need one each.</summary>
    [Fact]
    public async Task Several_sources_share_the_places_of_one_server()
    {
        await _scene.TheirsOkAsync(QemuImgScene.Peer, "create", "-q", "-f", "raw", "@disk.raw", "4M");
        await _scene.IoAsync("@disk.raw", "raw", "write -P 9 1M 1M");
        await File.WriteAllBytesAsync(_scene.File("odd.raw"), new byte[512], TestContext.Current.CancellationToken);
        var socket = _scene.File("s");
        using var server = await NbdServerProcess.StartAsync(socket, _scene.File("disk.raw"), places: 3);
        string[] sources = [$"nbd+unix:///?socket={socket}", $"nbd:unix:{socket}", "@odd.raw"];
        await _scene.OursOkAsync(["convert", "-f", "raw", "-O", "raw", .. sources, "@ours"]);
        await _scene.TheirsOkAsync(QemuImgScene.Peer, ["convert", "-f", "raw", "-O", "raw", .. sources, "@theirs"]);
        await _scene.AssertSameContentAsync("@theirs", "@ours");
    }

    [Fact]
    public async Task Bitmaps_are_copied_and_broken_ones_left_out_on_demand()
    {
        await _scene.CreateChainAsync();
        await _scene.TheirsOkAsync(QemuImgScene.Peer, "bitmap", "--add", "-g", "4k", "@top.qcow2", "b0");
        await _scene.TheirsOkAsync(QemuImgScene.Peer, "bitmap", "--add", "@top.qcow2", "b1");
        await _scene.IoAsync("@top.qcow2", "qcow2", "write -P 1 1M 4k", "write -P 2 3M 100k");
        await _scene.TheirsOkAsync(QemuImgScene.Peer, "bitmap", "--disable", "@top.qcow2", "b1");
        await _scene.OursOkAsync("convert", "--bitmaps", "-O", "qcow2", "@top.qcow2", "@ours.qcow2");
        await _scene.TheirsOkAsync(
            QemuImgScene.Peer, "convert", "--bitmaps", "-O", "qcow2", "@top.qcow2", "@theirs.qcow2");
        await _scene.AssertCleanAsync("@ours.qcow2");
        Assert.Equal(await FormatOfAsync("@theirs.qcow2"), await FormatOfAsync("@ours.qcow2"));
        Assert.Equal(
            await BitmapReader.ReadAsync(_scene.File("theirs.qcow2"), "b0"),
            await BitmapReader.ReadAsync(_scene.File("ours.qcow2"), "b0"));

        await _scene.CrashAsync("@top.qcow2");
        var refused = await _scene.OursAsync("convert", "--bitmaps", "-O", "qcow2", "@top.qcow2", "@no.qcow2");
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("b0", refused.Error, StringComparison.Ordinal);
        var skipped = await _scene.OursAsync(
            "convert", "--bitmaps", "--skip-broken-bitmaps", "-O", "qcow2", "@top.qcow2", "@yes.qcow2");
        Assert.Equal(0, skipped.ExitCode);
        Assert.Contains("Skipping", skipped.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("b0", await FormatOfAsync("@yes.qcow2"), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(512)]
    [InlineData(1048576)]
    [InlineData(4193792)]
    public async Task Compare_tells_the_first_difference_as_qemu_img_does(int offset)
    {
        await _scene.CreateChainAsync();
        await _scene.OursOkAsync("convert", "-O", "raw", "@top.qcow2", "@a.raw");
        await _scene.IoAsync("@a.raw", "raw", $"write -P 77 {offset} 512");
        foreach (var line in new string[][] { ["compare"], ["compare", "-s"], ["compare", "-f", "qcow2", "-F", "raw"] })
        {
            var theirs = await _scene.TheirsAsync(QemuImgScene.Peer, [.. line, "@top.qcow2", "@a.raw"]);
            var ours = await _scene.OursAsync([.. line, "@top.qcow2", "@a.raw"]);
            Assert.Equal((theirs.ExitCode, theirs.Output), (ours.ExitCode, ours.Output));
        }
    }

    [Fact]
    public async Task Compare_of_different_sizes_and_of_nothing()
    {
        await _scene.TheirsOkAsync(QemuImgScene.Peer, "create", "-q", "-f", "raw", "@a.raw", "1M");
        await _scene.TheirsOkAsync(QemuImgScene.Peer, "create", "-q", "-f", "qcow2", "@b.qcow2", "2M");
        foreach (var line in new string[][]
        {
            ["compare", "@a.raw", "@b.qcow2"], ["compare", "-s", "@a.raw", "@b.qcow2"],
            ["compare", "-q", "@a.raw", "@b.qcow2"], ["compare", "@a.raw", "@missing"],
        })
        {
            var theirs = await _scene.TheirsAsync(QemuImgScene.Peer, line);
            var ours = await _scene.OursAsync(line);
            Assert.Equal((theirs.ExitCode, theirs.Output), (ours.ExitCode, ours.Output));
        }
    }

    private static string[] Theirs(string[] options) =>
        [.. options.Where(option => option is not "-p")];

    private async Task<string> FormatOfAsync(string image) => QemuImgScene.Normalize(
        await _scene.TheirsOkAsync(QemuImgScene.Peer, "info", "-f", "qcow2", "--output", "json", image),
        "children", "actual-size", "filename");
}
