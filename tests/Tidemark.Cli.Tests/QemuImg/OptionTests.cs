using Tidemark.Testing;

namespace Tidemark.Cli.Tests.QemuImg;

/// <summary>Options that several verbs have, beside qemu-img: <c>-l</c>, <c>--image-opts</c>, <c>-o help</c>.</summary>
[Trait("Category", "Interop")]
[Trait("Category", "Long")]
public sealed class OptionTests : IDisposable
{
    private readonly QemuImgScene _scene = new();

    public void Dispose() => _scene.Dispose();

    [Theory]
    [InlineData("cluster_size=512")]
    [InlineData("compat=0.10")]
    [InlineData("extended_l2=on")]
    [InlineData("refcount_bits=64,cluster_size=4k")]
    public async Task An_internal_snapshot_is_read_as_qemu_reads_it(string options)
    {
        var peer = QemuImgScene.Peer;
        await _scene.TheirsOkAsync(peer, "create", "-q", "-f", "qcow2", "@base.qcow2", "6M");
        await _scene.IoAsync("@base.qcow2", "qcow2", "write -P 9 0 6M");
        await _scene.TheirsOkAsync(
            peer, "create", "-q", "-f", "qcow2", "-o", options, "-b", "base.qcow2", "-F", "qcow2", "@a.qcow2", "3M");
        await _scene.IoAsync("@a.qcow2", "qcow2", "write -P 1 100k 300k", "write -z 1M 64k", "write -c -P 4 2M 64k");
        await _scene.TheirsOkAsync(peer, "snapshot", "-c", "first", "@a.qcow2");
        await _scene.IoAsync("@a.qcow2", "qcow2", "write -P 2 200k 1M", "write -P 3 2500k 500k");
        await _scene.TheirsOkAsync(peer, "snapshot", "-c", "1", "@a.qcow2");

        // Version 2 does not resize an image that has snapshots.
        if (!options.Contains("compat", StringComparison.Ordinal))
        {
            await _scene.TheirsOkAsync(peer, "resize", "@a.qcow2", "5M");
        }

        await _scene.IoAsync("@a.qcow2", "qcow2", "discard 0 1M", "write -P 5 2900k 100k");
        foreach (var version in QemuVersions.All)
        {
            // "1" is the first one's id and the second one's name: the id goes first.
            foreach (var which in new[] { "first", "1", "2", "snapshot.name=1", "snapshot.id=1,snapshot.name=first" })
            {
                await _scene.TheirsOkAsync(version, "convert", "-l", which, "-O", "raw", "@a.qcow2", "@theirs.raw");
                await _scene.OursOkAsync("convert", "-l", which, "-O", "raw", "@a.qcow2", "@ours.raw");
                Assert.True(
                    File.ReadAllBytes(_scene.File("theirs.raw")).AsSpan()
                        .SequenceEqual(File.ReadAllBytes(_scene.File("ours.raw"))),
                    $"{version} reads snapshot {which} otherwise");
            }
        }

        await _scene.OursOkAsync("convert", "-l", "first", "-O", "qcow2", "-c", "@a.qcow2", "@packed.qcow2");
        await _scene.OursOkAsync("convert", "-l", "first", "-O", "raw", "@a.qcow2", "@first.raw");
        await _scene.AssertSameContentAsync("@packed.qcow2", "@first.raw");
        string[] measure = ["measure", "-l", "first", "-O", "qcow2", "--output", "json", "@a.qcow2"];
        Assert.Equal(await _scene.TheirsOkAsync(peer, measure), await _scene.OursOkAsync(measure));
        await _scene.AssertCleanAsync("@a.qcow2");
    }

    [Theory]
    [InlineData("convert", "-l", "nobody", "-O", "raw", "@a.qcow2", "@x.raw")]
    [InlineData("convert", "-l", "snapshot.id=1,snapshot.name=other", "-O", "raw", "@a.qcow2", "@x.raw")]
    [InlineData("convert", "-l", "snapshot.nonsense=1", "-O", "raw", "@a.qcow2", "@x.raw")]
    [InlineData("convert", "-l", "s", "-O", "raw", "@a.qcow2", "@a.qcow2", "@x.raw")]
    [InlineData("convert", "-l", "s", "-f", "raw", "-O", "raw", "@a.qcow2", "@x.raw")]
    [InlineData("convert", "--nonsense", "@a.qcow2", "@x.raw")]
    [InlineData("measure", "-l", "nobody", "@a.qcow2")]
    [InlineData("info", "--image-opts", "-f", "qcow2", "driver=qcow2,file.filename=@a.qcow2")]
    [InlineData("info", "--image-opts", "@a.qcow2")]
    [InlineData("info", "--image-opts", "driver=qcow2,file.filename=@a.qcow2,nonsense=1")]
    [InlineData("info", "--image-opts", "driver=raw,file.driver=nonsense,file.filename=@a.qcow2")]
    [InlineData("create", "-f", "qcow2")]
    public async Task What_qemu_img_refuses_is_refused(params string[] line)
    {
        await _scene.TheirsOkAsync(QemuImgScene.Peer, "create", "-q", "-f", "qcow2", "@a.qcow2", "3M");
        await _scene.TheirsOkAsync(QemuImgScene.Peer, "snapshot", "-c", "s", "@a.qcow2");
        var theirs = await _scene.TheirsAsync(QemuImgScene.Peer, line);
        var ours = await _scene.OursAsync(line);
        Assert.Equal(theirs.ExitCode, ours.ExitCode);
        Assert.NotEqual("", ours.Error);
        Assert.Equal("", ours.Output);
    }

    [Fact]
    public async Task Images_are_described_by_options_as_well()
    {
        await _scene.CreateChainAsync();
        File.Copy(_scene.File("top.qcow2"), _scene.File("a,b.qcow2"));
        const string Top = "driver=qcow2,file.driver=file,file.filename=@top.qcow2";
        foreach (var line in new string[][]
        {
            ["info", "--output", "json", "--image-opts", Top],
            ["map", "--output", "json", "--image-opts", Top],
            ["map", "--output", "json", "--image-opts", "file.filename=@a,,b.qcow2"],
            ["check", "--output", "json", "--image-opts", "driver=qcow2,file.filename=@a,,b.qcow2"],
            ["compare", "--image-opts", Top, "driver=qcow2,file.filename=@a,,b.qcow2"],
            ["compare", "--image-opts", Top, $"{Top},backing.driver=raw,backing.file.filename=@base.qcow2"],
            ["measure", "-O", "qcow2", "--image-opts", Top],
        })
        {
            var theirs = await _scene.TheirsAsync(QemuImgScene.Peer, line);
            var ours = await _scene.OursAsync(line);
            Assert.Equal((theirs.ExitCode, theirs.Output), (ours.ExitCode, ours.Output));
        }

        await _scene.OursOkAsync("convert", "--image-opts", "-O", "raw", Top, "@x.raw");
        await _scene.AssertSameContentAsync("@top.qcow2", "@x.raw");
        await _scene.OursOkAsync("resize", "--image-opts", "driver=raw,file.filename=@x.raw", "8M");
        Assert.Equal(8 << 20, new FileInfo(_scene.File("x.raw")).Length);
        await _scene.OursOkAsync("bitmap", "--add", "--image-opts", Top, "b0");
        await _scene.OursOkAsync("commit", "-d", "--image-opts", Top);
        await _scene.AssertCleanAsync("@mid.qcow2");
    }

    /// <summary>qemu-img has renamed some of its options, and given all of them long names: both are understood.
    /// </summary>
    [Fact]
    public async Task The_names_of_the_newest_release_are_understood()
    {
        var newest = QemuVersions.Need("11.1");
        await _scene.CreateChainAsync();
        string[][] lines =
        [
            ["create", "--format", "qcow2", "--backing", "base.qcow2", "-B", "qcow2", "@new.qcow2"],
            [
                "convert", "--source-format", "qcow2", "--target-format", "qcow2", "--target-format-options",
                "cluster_size=4k", "--oob-writes", "--target-cache", "unsafe", "--sparse-size", "64k", "--parallel",
                "2", "-b", "mid.qcow2", "-F", "qcow2", "@top.qcow2", "@copy.qcow2",
            ],
            ["rebase", "--backing", "base.qcow2", "-B", "qcow2", "@copy.qcow2"],
            ["commit", "--drop", "--base", "@base.qcow2", "@new.qcow2"],
            ["measure", "--size", "1G", "--target-format", "qcow2"],
            ["map", "--start-offset", "64k", "--max-length", "1M", "--output", "json", "@copy.qcow2"],
            ["compare", "--a-format", "qcow2", "--b-format", "qcow2", "--strict", "@top.qcow2", "@top.qcow2"],
            ["check", "--repair", "leaks", "--format", "qcow2", "@copy.qcow2"],
        ];
        foreach (var line in lines)
        {
            // First theirs: that it knows the name is what this rests on.
            await _scene.TheirsOkAsync(newest, line);
            await _scene.OursOkAsync(line);
        }

        await _scene.AssertSameContentAsync("@top.qcow2", "@copy.qcow2");
    }

    [Theory]
    [InlineData("create", "-f", "qcow2", "-o", "help", "@x", "1M")]
    [InlineData("create", "-f", "qcow2", "-o", "help")]
    [InlineData("create", "-f", "raw", "-o", "help", "@x")]
    [InlineData("create", "-f", "qcow2", "-o", "cluster_size=4k,?", "@x", "1M")]
    [InlineData("convert", "-O", "qcow2", "-o", "help", "@missing", "@x")]
    public async Task Help_lists_what_we_have_in_qemu_imgs_words(params string[] line)
    {
        string[] unsupported = ["  encrypt", "  nocow=", "  extent_size_hint=", "  keep_data_file="];
        var theirs = await _scene.TheirsOkAsync(QemuImgScene.Peer, line);
        var ours = await _scene.OursOkAsync(line);
        Assert.Equal(
            theirs.Split('\n').Skip(1).Where(option => !unsupported.Any(option.StartsWith)),
            ours.Split('\n').Skip(1));
        Assert.StartsWith("Supported ", ours, StringComparison.Ordinal);
        Assert.False(File.Exists(_scene.File("x")));
    }
}
