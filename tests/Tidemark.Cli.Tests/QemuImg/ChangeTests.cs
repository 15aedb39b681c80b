using Tidemark.Testing;

namespace Tidemark.Cli.Tests.QemuImg;

/// <summary>create, bitmap, commit, rebase, resize and check -r leave what qemu-img leaves.</summary>
[Trait("Category", "Interop")]
[Trait("Category", "Long")]
public sealed class ChangeTests : IDisposable
{
    private readonly QemuImgScene _scene = new();

    public void Dispose() => _scene.Dispose();

    [Theory]
    [InlineData("raw", "")]
    [InlineData("raw", "preallocation=falloc")]
    [InlineData("raw", "preallocation=full,size=1000")]
    [InlineData("qcow2", "")]
    [InlineData("qcow2", "compat=0.10")]
    [InlineData("qcow2", "compat=v3,cluster_size=4k,refcount_bits=8,lazy_refcounts=on,compression_type=zstd")]
    [InlineData("qcow2", "extended_l2=on,cluster_size=2M,preallocation=metadata")]
    [InlineData("qcow2", "preallocation=falloc")]
    [InlineData("qcow2", "data_file=data.raw,data_file_raw=on")]
    [InlineData("qcow2", "backing_file=@base.qcow2,backing_fmt=qcow2")]
    public async Task A_new_image_is_what_qemu_img_makes(string format, string options)
    {
        var peer = QemuImgScene.Peer;
        await _scene.TheirsOkAsync(peer, "create", "-q", "-f", "qcow2", "@base.qcow2", "3M");
        string[] extra = options.Length == 0 ? [] : ["-o", options];
        string[] size = options.Contains("size=1000", StringComparison.Ordinal) || options.Contains("backing")
            ? [] : ["1234567"];
        var theirs = await _scene.TheirsOkAsync(peer, ["create", "-f", format, .. extra, "@a", .. size]);
        var info = await DescribeAsync("@a", format);
        File.Delete(_scene.File("a"));
        var ours = await _scene.OursOkAsync(["create", "-f", format, .. extra, "@a", .. size]);
        Assert.Equal(theirs, ours);
        Assert.Equal(info, await DescribeAsync("@a", format));
        if (format == "qcow2")
        {
            await _scene.AssertCleanAsync("@a");
            await _scene.IoAsync("@a", "qcow2", "write -P 5 64k 128k", "read -P 5 64k 128k");
            Assert.Equal(0, (await _scene.OursAsync("check", "@a")).ExitCode);
        }
    }

    [Theory]
    [InlineData("create", "-f", "qcow2", "@a")]
    [InlineData("create", "-f", "qcow2", "@a", "1x")]
    [InlineData("create", "-f", "qcow2", "-o", "nonsense=1", "@a", "1M")]
    [InlineData("create", "-f", "qcow2", "-o", "cluster_size=3", "@a", "1M")]
    [InlineData("create", "-f", "qcow2", "-b", "missing", "-F", "qcow2", "@a")]
    [InlineData("create", "-f", "qcow2", "-b", "", "@a", "1M")]
    [InlineData("info", "@missing")]
    [InlineData("check", "@missing")]
    [InlineData("compare", "@missing", "@missing")]
    [InlineData("convert", "@missing", "@other")]
    [InlineData("check", "-f", "raw", "@raw")]
    [InlineData("map", "--output", "xml", "@raw")]
    [InlineData("bitmap", "--add", "@raw", "b")]
    [InlineData("commit", "@raw")]
    [InlineData("rebase", "-b", "", "@raw")]
    [InlineData("resize", "@raw", "1k")]
    [InlineData("resize", "@raw", "+7E")]
    [InlineData("frobnicate")]
    public async Task What_qemu_img_refuses_is_refused_with_its_exit_code(params string[] line)
    {
        await File.WriteAllBytesAsync(_scene.File("raw"), new byte[4096], TestContext.Current.CancellationToken);
        var theirs = await _scene.TheirsAsync(QemuImgScene.Peer, line);
        var ours = await _scene.OursAsync(line);
        Assert.Equal(theirs.ExitCode, ours.ExitCode);
        Assert.NotEqual("", ours.Error);
    }

    [Fact]
    public async Task Bitmaps_go_the_same_way_step_by_step()
    {
        string[][] steps =
        [
            ["--add", "@X", "b0"], ["--add", "-g", "32k", "--disable", "@X", "b1"],
            ["--enable", "@X", "b1"], ["--add", "--merge", "b0", "--merge", "b1", "@X", "b2"],
            ["--clear", "@X", "b0"], ["--disable", "@X", "b2"], ["--remove", "@X", "b1"],
            ["--add", "@X", "b0"], ["--remove", "@X", "b7"], ["--merge", "b2", "-b", "@source.qcow2", "@X", "b0"],
            ["-g", "3k", "--add", "@X", "b9"], ["@X", "b0"], ["--enable", "-g", "64k", "@X", "b0"],
        ];
        await _scene.CreateChainAsync();
        await _scene.TheirsOkAsync(QemuImgScene.Peer, "bitmap", "--add", "@top.qcow2", "b2");
        await _scene.IoAsync("@top.qcow2", "qcow2", "write -P 1 1M 4k");
        File.Copy(_scene.File("top.qcow2"), _scene.File("source.qcow2"));
        await _scene.TheirsOkAsync(QemuImgScene.Peer, "bitmap", "--remove", "@top.qcow2", "b2");
        File.Copy(_scene.File("top.qcow2"), _scene.File("ours.qcow2"));
        File.Copy(_scene.File("top.qcow2"), _scene.File("theirs.qcow2"));
        var round = 0;
        foreach (var step in steps)
        {
            string[] On(string image) =>
                ["bitmap", .. step.Select(word => word.Replace("@X", image, StringComparison.Ordinal))];
            var ours = await _scene.OursAsync(On("@ours.qcow2"));
            var theirs = await _scene.TheirsAsync(QemuImgScene.Peer, On("@theirs.qcow2"));
            Assert.True(theirs.ExitCode == ours.ExitCode, $"{string.Join(' ', step)}: {theirs.Error} {ours.Error}");
            Assert.Equal(await DescribeAsync("@theirs.qcow2"), await DescribeAsync("@ours.qcow2"));
            await _scene.IoAsync("@ours.qcow2", "qcow2", $"write {round}M 10k");
            await _scene.IoAsync("@theirs.qcow2", "qcow2", $"write {round}M 10k");
            round = (round + 1) % 3;
        }

        await _scene.AssertCleanAsync("@ours.qcow2");
        foreach (var name in new[] { "b0", "b2" })
        {
            Assert.Equal(
                await BitmapReader.ReadAsync(_scene.File("theirs.qcow2"), name),
                await BitmapReader.ReadAsync(_scene.File("ours.qcow2"), name));
        }
    }

    [Fact]
    public async Task A_bitmap_that_is_in_use_can_only_be_removed()
    {
        await _scene.CreateChainAsync();
        await _scene.OursOkAsync("bitmap", "--add", "@top.qcow2", "b0");
        await _scene.CrashAsync("@top.qcow2");
        Assert.Contains("in-use", await _scene.OursOkAsync("info", "--json", "@top.qcow2"), StringComparison.Ordinal);
        Assert.Equal(1, (await _scene.OursAsync("bitmap", "--clear", "@top.qcow2", "b0")).ExitCode);
        string[] measure = ["measure", "--output", "json", "-O", "qcow2", "@top.qcow2"];
        Assert.Equal(await _scene.TheirsOkAsync(QemuImgScene.Peer, measure), await _scene.OursOkAsync(measure));
        await _scene.OursOkAsync("bitmap", "--remove", "@top.qcow2", "b0");
        Assert.DoesNotContain("b0", await DescribeAsync("@top.qcow2"), StringComparison.Ordinal);
        await _scene.AssertCleanAsync("@top.qcow2");
    }

    [Theory]
    [InlineData(-7, 99)]
    [InlineData(-8, 9)]
    [InlineData(-6, 0xff)]
    public async Task A_malformed_bitmap_is_removed_where_qemu_refuses_the_image(int field, byte value)
    {
        const string Name = "a-name-to-be-found";
        await _scene.CreateChainAsync();
        await _scene.TheirsOkAsync(QemuImgScene.Peer, "bitmap", "--add", "@top.qcow2", Name);
        var bytes = await File.ReadAllBytesAsync(_scene.File("top.qcow2"), TestContext.Current.CancellationToken);
        var found = bytes.AsSpan().IndexOf(System.Text.Encoding.UTF8.GetBytes(Name));

        // Fields of the directory entry, which ends where the name begins: granularity, type, length of the name.
        bytes[found + field] = value;
        await File.WriteAllBytesAsync(_scene.File("top.qcow2"), bytes, TestContext.Current.CancellationToken);
        Assert.Equal(
            1, (await _scene.TheirsAsync(QemuImgScene.Peer, "bitmap", "--remove", "@top.qcow2", Name)).ExitCode);
        var info = await _scene.OursAsync("info", "@top.qcow2");
        Assert.Equal(0, info.ExitCode);
        Assert.Contains("warning", info.Error, StringComparison.Ordinal);
        await _scene.OursOkAsync("bitmap", "--remove", "@top.qcow2", Name);
        Assert.DoesNotContain(Name, await DescribeAsync("@top.qcow2"), StringComparison.Ordinal);

        // What a malformed entry says of its clusters is not believed: they leak until a repair.
        await _scene.OursOkAsync("check", "-r", "leaks", "@top.qcow2");
        await _scene.AssertCleanAsync("@top.qcow2");
    }

    /// <summary>QEMU up to 6.0 made overlays that do not say what format their backing file has. It is found by the
    /// first bytes, as QEMU does it.</summary>
    [Fact]
    public async Task An_overlay_that_names_no_format_is_read()
    {
        await _scene.CreateChainAsync();
        var old = QemuVersions.Need("5.2");
        await _scene.TheirsOkAsync(old, "create", "-q", "-f", "qcow2", "@plain.qcow2", "1M");
        await _scene.IoAsync("@plain.qcow2", "qcow2", "write -P 3 64k 64k");
        await File.WriteAllBytesAsync(
            _scene.File("plain.raw"), new byte[1 << 20], TestContext.Current.CancellationToken);
        await _scene.IoAsync("@plain.raw", "raw", "write -P 5 128k 64k");
        foreach (var name in new[] { "plain.qcow2", "plain.raw" })
        {
            await _scene.TheirsOkAsync(old, "create", "-q", "-f", "qcow2", "-b", name, "@over.qcow2");
            File.Delete(_scene.File("ours.raw"));
            await _scene.OursOkAsync("convert", "-O", "raw", "@over.qcow2", "@ours.raw");
            await _scene.AssertSameContentAsync("@over.qcow2", "@ours.raw");
        }
    }

    [Fact]
    public async Task Names_in_images_are_followed_unless_told_not_to()
    {
        await _scene.CreateChainAsync();
        await _scene.OursOkAsync("map", "--json", "@top.qcow2");
        await _scene.TheirsOkAsync(
            QemuImgScene.Peer, "create", "-q", "-f", "qcow2", "-o", "data_file=@other", "@outside.qcow2", "1M");
        await _scene.OursOkAsync("map", "--json", "@outside.qcow2");
        foreach (var line in new string[][]
        {
            ["map", "--no-follow", "@top.qcow2"], ["info", "--no-follow", "--backing-chain", "@top.qcow2"],
            ["convert", "--no-follow", "@top.qcow2", "@x.raw"], ["measure", "--no-follow", "@top.qcow2"],
            ["map", "--no-follow", "@outside.qcow2"], ["convert", "--no-follow", "@outside.qcow2", "@x.raw"],
            ["compare", "--no-follow", "@outside.qcow2", "@base.qcow2"],
        })
        {
            var refused = await _scene.OursAsync(line);
            Assert.Equal(line[0] == "compare" ? 2 : 1, refused.ExitCode);
            Assert.Contains("following such names is off", refused.Error, StringComparison.Ordinal);
        }

        Assert.False(File.Exists(_scene.File("x.raw")));
        await _scene.OursOkAsync("info", "--no-follow", "@top.qcow2");
        await _scene.OursOkAsync("info", "--no-follow", "@outside.qcow2");
        await _scene.OursOkAsync("map", "--no-follow", "@base.qcow2");
    }

    [Theory]
    [InlineData("commit", "@top.qcow2")]
    [InlineData("commit", "-d", "@top.qcow2")]
    [InlineData("commit", "-p", "-b", "@base.qcow2", "@top.qcow2")]
    [InlineData("rebase", "-b", "", "@top.qcow2")]
    [InlineData("rebase", "-p", "-b", "base.qcow2", "-F", "qcow2", "@top.qcow2")]
    [InlineData("rebase", "-b", "other.raw", "-F", "raw", "@top.qcow2")]
    [InlineData("rebase", "-u", "-b", "base.qcow2", "-F", "qcow2", "@top.qcow2")]
    [InlineData("resize", "@top.qcow2", "+1M")]
    [InlineData("resize", "--shrink", "@top.qcow2", "1M")]
    [InlineData("resize", "--preallocation=metadata", "@top.qcow2", "5M")]
    [InlineData("resize", "--shrink", "@top.qcow2", "-1M")]
    public async Task A_chain_is_changed_as_qemu_img_changes_it(params string[] line)
    {
        await _scene.CreateChainAsync();
        await _scene.OursOkAsync("convert", "-O", "raw", "@base.qcow2", "@other.raw");
        await _scene.IoAsync("@other.raw", "raw", "write -P 9 1M 1M");
        string[] names = ["base.qcow2", "mid.qcow2", "top.qcow2"];
        Directory.CreateDirectory(_scene.File("ours"));
        Directory.CreateDirectory(_scene.File("theirs"));
        foreach (var name in names.Append("other.raw"))
        {
            File.Copy(_scene.File(name), _scene.File($"ours/{name}"));
            File.Copy(_scene.File(name), _scene.File($"theirs/{name}"));
        }

        string[] In(string folder) => [.. line.Select(
            word => word.StartsWith('@') ? $"@{folder}/{word[1..]}" : word)];
        string[] theirLine = line.Contains("-1M")
            ? ["resize", "--shrink", "@theirs/top.qcow2", "--", "-1M"] : In("theirs");
        await _scene.TheirsOkAsync(QemuImgScene.Peer, [.. theirLine.Where(word => word != "-p")]);
        await _scene.OursOkAsync(In("ours"));
        foreach (var name in names)
        {
            await _scene.AssertCleanAsync($"@ours/{name}");
            await _scene.AssertSameContentAsync($"@theirs/{name}", $"@ours/{name}");
            Assert.Equal(await DescribeAsync($"@theirs/{name}"), await DescribeAsync($"@ours/{name}"));
        }

        if (line is ["rebase", not "-u", ..])
        {
            await _scene.AssertSameContentAsync("@top.qcow2", "@ours/top.qcow2");
        }
    }

    [Theory]
    [InlineData("leaks")]
    [InlineData("all")]
    public async Task Damage_is_found_and_repaired_as_qemu_img_does(string repair)
    {
        await _scene.CreateChainAsync();
        var (leaky, corrupt) = (_scene.File("leaky.qcow2"), _scene.File("corrupt.qcow2"));
        File.Copy(_scene.File("base.qcow2"), leaky);
        File.Copy(_scene.File("base.qcow2"), corrupt);

        // The first refcount block follows the refcount table. A cluster at the file's end is counted and not used; one
        // with data is used and not counted.
        using (var file = File.OpenWrite(leaky))
        {
            file.SetLength(50 * 65536);
            file.Position = (2 * 65536) + (2 * 45);
            file.Write([0, 1]);
        }

        using (var file = File.OpenWrite(corrupt))
        {
            file.Position = (2 * 65536) + (2 * 6);
            file.Write([0, 0]);
        }

        foreach (var name in new[] { "leaky", "corrupt" })
        {
            File.Copy(_scene.File($"{name}.qcow2"), _scene.File("theirs.qcow2"), overwrite: true);
            File.Copy(_scene.File($"{name}.qcow2"), _scene.File("ours.qcow2"), overwrite: true);
            foreach (var options in (string[][])[[], ["-q"], ["--output", "json"]])
            {
                var found = await CheckAlikeAsync(options);
                Assert.Equal(name == "leaky" ? 3 : 2, found.ExitCode);
                Assert.NotEqual("", found.Error);
            }

            // Their judgement of what our repair leaves.
            var repaired = await _scene.OursAsync("check", "-r", repair, "--output", "json", "@ours.qcow2");
            var judged = await _scene.TheirsAsync(QemuImgScene.Peer, "check", "@ours.qcow2");
            Assert.Equal(judged.ExitCode, repaired.ExitCode);
            if (name == "leaky" || repair == "all")
            {
                Assert.Equal(0, repaired.ExitCode);
                Assert.Contains("-fixed", repaired.Output, StringComparison.Ordinal);
                await _scene.AssertSameContentAsync("@base.qcow2", "@ours.qcow2");
            }
        }
    }

    private async Task<ToolResult> CheckAlikeAsync(params string[] options)
    {
        var theirs = await _scene.TheirsAsync(QemuImgScene.Peer, ["check", .. options, "@theirs.qcow2"]);
        var ours = await _scene.OursAsync(["check", .. options, "@ours.qcow2"]);
        ours = ours with { Output = ours.Output.Replace("ours.qcow2", "theirs.qcow2", StringComparison.Ordinal) };
        Assert.Equal(theirs, ours);
        return ours;
    }

    private async Task<string> DescribeAsync(string image, string format = "qcow2") => QemuImgScene.Normalize(
        await _scene.TheirsOkAsync(QemuImgScene.Peer, "info", "-U", "-f", format, "--output", "json", image),
        "children", "actual-size", "filename", "full-backing-filename");
}
