using Tidemark.Testing;

namespace Tidemark.Cli.Tests.QemuImg;

/// <summary>info, map, check and measure say what qemu-img says, letter for letter.</summary>
[Trait("Category", "Interop")]
[Trait("Category", "Long")]
public sealed class DescribeTests : IDisposable
{
    private readonly QemuImgScene _scene = new();

    public static TheoryData<string> Options { get; } =
    [
        "compat=0.10", "cluster_size=512", "cluster_size=2M", "refcount_bits=1", "refcount_bits=64,lazy_refcounts=on",
        "extended_l2=on", "compression_type=zstd", "preallocation=metadata", "preallocation=full",
        "data_file=data.raw", "data_file=data.raw,data_file_raw=on",
    ];

    public void Dispose() => _scene.Dispose();

    [Theory]
    [MemberData(nameof(Options))]
    public async Task An_image_with_every_option_is_described_alike(string options)
    {
        var peer = QemuImgScene.Peer;
        options = options.Replace("data_file=", $"data_file={_scene.File("")}/", StringComparison.Ordinal);
        await _scene.TheirsOkAsync(peer, "create", "-q", "-f", "qcow2", "-o", options, "@a.qcow2", "5000k");
        await _scene.IoAsync(
            "@a.qcow2", "qcow2", "write -P 1 100k 300k", "write -P 2 1M 1k", "write -z 2M 128k",
            "write -P 3 4990k 10k");

        await AssertAlikeAsync("@a.qcow2");
    }

    [Fact]
    public async Task A_chain_is_described_alike()
    {
        await _scene.CreateChainAsync();
        await _scene.TheirsOkAsync(QemuImgScene.Peer, "bitmap", "--add", "@top.qcow2", "b0");
        await _scene.TheirsOkAsync(
            QemuImgScene.Peer, "bitmap", "--add", "-g", "32k", "--disable", "@top.qcow2", "ein anderer \"Name\" ü");
        await _scene.TheirsOkAsync(QemuImgScene.Peer, "snapshot", "-c", "first snapshot", "@top.qcow2");
        await AssertAlikeAsync("@top.qcow2");
        foreach (var output in new[] { "human", "json" })
        {
            Assert.Equal(
                await _scene.TheirsOkAsync(
                    QemuImgScene.Peer, "info", "--backing-chain", "--output", output, "@top.qcow2"),
                await _scene.OursOkAsync("info", "--backing-chain", "--output", output, "@top.qcow2"));
        }
    }

    [Fact]
    public async Task Raw_images_are_described_alike()
    {
        await using (var file = File.Create(_scene.File("a.raw")))
        {
            file.SetLength(3_000_001);
            file.Position = 1_000_000;
            file.Write("something"u8);
        }

        await AssertAlikeAsync("@a.raw", "raw");
    }

    [Fact]
    public async Task An_older_qemu_describes_images_alike_but_for_what_it_does_not_know()
    {
        await _scene.CreateChainAsync();
        foreach (var version in QemuVersions.All)
        {
            Assert.Equal(
                QemuImgScene.Normalize(
                    await _scene.TheirsOkAsync(version, "info", "--output", "json", "--backing-chain", "@top.qcow2"),
                    "children"),
                QemuImgScene.Normalize(
                    await _scene.OursOkAsync("info", "--json", "--backing-chain", "@top.qcow2"), "children"));
            Assert.Equal(
                QemuImgScene.Normalize(
                    await _scene.TheirsOkAsync(version, "map", "--output", "json", "@mid.qcow2"),
                    "compressed", "present"),
                QemuImgScene.Normalize(
                    await _scene.OursOkAsync("map", "--json", "@mid.qcow2"), "compressed", "present"));
        }
    }

    [Fact]
    public async Task Compressed_clusters_are_mapped_alike()
    {
        await _scene.CreateChainAsync();
        await _scene.TheirsOkAsync(QemuImgScene.Peer, "convert", "-c", "-O", "qcow2", "@top.qcow2", "@c.qcow2");
        await AssertAlikeAsync("@c.qcow2", mapsForPeople: false);
        Assert.Equal(1, (await _scene.OursAsync("map", "@c.qcow2")).ExitCode);
    }

    [Theory]
    [InlineData("0", "")]
    [InlineData("1", "")]
    [InlineData("1G", "")]
    [InlineData("7T", "cluster_size=2M")]
    [InlineData("100000001", "cluster_size=512")]
    [InlineData("64G", "refcount_bits=64,extended_l2=on")]
    [InlineData("64G", "refcount_bits=1,compat=1.1")]
    [InlineData("3G", "preallocation=full")]
    [InlineData("3G", "compat=0.10")]
    public async Task The_size_of_an_empty_image_is_measured_alike(string size, string options)
    {
        string[] extra = options.Length == 0 ? [] : ["-o", options];
        foreach (var version in QemuVersions.All)
        {
            foreach (var output in new[] { "human", "json" })
            {
                string[] line = ["measure", "--output", output, "-O", "qcow2", .. extra, "--size", size];
                Assert.Equal(await _scene.TheirsOkAsync(version, line), await _scene.OursOkAsync(line));
            }
        }

        string[] raw = ["measure", "-O", "raw", "--size", size];
        Assert.Equal(await _scene.TheirsOkAsync(QemuImgScene.Peer, raw), await _scene.OursOkAsync(raw));
    }

    [Theory]
    [InlineData("")]
    [InlineData("cluster_size=4k")]
    [InlineData("cluster_size=2M")]
    [InlineData("backing_file=base.qcow2,backing_fmt=qcow2")]
    [InlineData("extended_l2=on,refcount_bits=32")]
    public async Task The_size_of_a_conversion_is_measured_alike(string options)
    {
        await _scene.CreateChainAsync();
        await _scene.TheirsOkAsync(QemuImgScene.Peer, "bitmap", "--add", "@top.qcow2", "b0");
        string[] extra = options.Length == 0 ? [] : ["-o", options];
        foreach (var target in new[] { "qcow2", "raw" })
        {
            if (target == "raw" && options.Length > 0)
            {
                continue;
            }

            string[] line = ["measure", "--output", "json", "-O", target, .. extra, "@top.qcow2"];
            Assert.Equal(await _scene.TheirsOkAsync(QemuImgScene.Peer, line), await _scene.OursOkAsync(line));
        }
    }

    private async Task AssertAlikeAsync(string image, string format = "qcow2", bool mapsForPeople = true)
    {
        List<string[]> lines =
        [
            ["info", "-f", format, image],
            ["info", "-f", format, "--output", "json", image],
            ["map", "-f", format, "--output", "json", image],
        ];

        if (mapsForPeople && !image.Contains("top", StringComparison.Ordinal))
        {
            lines.Add(["map", "-f", format, image]);
        }

        if (format == "qcow2")
        {
            lines.Add(["check", "-f", format, image]);
            lines.Add(["check", "-f", format, "--output", "json", image]);
        }

        foreach (var line in lines)
        {
            var ours = await _scene.OursOkAsync(line);
            Assert.Equal(await _scene.TheirsOkAsync(QemuImgScene.Peer, line), ours);
            if (QemuVersions.Newest is { } newest && newest != QemuImgScene.Peer)
            {
                Assert.Equal(await _scene.TheirsOkAsync(newest, line), ours);
            }
        }
    }
}
