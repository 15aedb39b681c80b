using System.Globalization;
using System.Text.Json.Nodes;
using Tidemark.Testing;

namespace Tidemark.Cli.Tests.QemuImg;

/// <summary>Two copies of one chain of images, changed by both programs in the same way.</summary>
internal sealed class RandomChain(QemuVersion version, Random random) : IDisposable
{
    private const int Unit = 64 << 10, Units = 40;

    // What a new image may be; sizes of the disk are whole clusters of all of them.
    private static readonly string[] s_options =
    [
        "cluster_size=64k", "cluster_size=4k", "cluster_size=512", "cluster_size=64k,extended_l2=on",
        "cluster_size=16k,extended_l2=on", "cluster_size=32k,refcount_bits=8", "cluster_size=64k,compat=0.10",
        "cluster_size=64k,preallocation=metadata",
    ];

    private readonly QemuImgScene _scene = new();
    private readonly List<string> _story = [];
    private readonly List<string> _images = [];
    private int _next;

    private string Top => _images[^1];

    public void Dispose() => _scene.Dispose();

    internal async Task CreateAsync()
    {
        Directory.CreateDirectory(_scene.File("a"));
        Directory.CreateDirectory(_scene.File("b"));
        _images.Add(NewName());
        await DoAsync("create", "-q", "-f", "qcow2", "-o", PickOptions(), "{}/" + Top, Size());
        await WriteAsync();
        await AddOverlayAsync();
    }

    /// <summary>One change.</summary>
    internal Task StepAsync() => random.Next(10) switch
    {
        0 when _images.Count < 4 => AddOverlayAsync(),
        1 or 2 when _images.Count > 1 => CommitAsync(),
        3 when _images.Count > 2 => RebaseAsync(),
        4 => DoAsync("resize", "-q", "-f", "qcow2", "--shrink", "{}/" + Top, Size()),
        5 => ChangeBitmapsAsync(),
        6 => ConvertAsync(),
        _ => WriteAsync(),
    };

    /// <summary>Both copies read the same, and both programs say the same of each image.</summary>
    internal async Task JudgeAsync()
    {
        List<byte[]> contents = [];
        foreach (var folder in new[] { "a", "b" })
        {
            await _scene.TheirsOkAsync(
                version, "convert", "-f", "qcow2", "-O", "raw", $"@{folder}/{Top}", $"@{folder}/theirs.raw");
            await _scene.OursOkAsync("convert", "-f", "qcow2", "-O", "raw", $"@{folder}/{Top}", $"@{folder}/ours.raw");
            var ours = await File.ReadAllBytesAsync(_scene.File($"{folder}/ours.raw"));
            AssertSame(await File.ReadAllBytesAsync(_scene.File($"{folder}/theirs.raw")), ours, "the two readings");
            contents.Add(ours);
            foreach (var image in _images)
            {
                await JudgeImageAsync($"@{folder}/{image}");
            }
        }

        AssertSame(contents[0], contents[1], "the two copies");
        var infos = await Task.WhenAll(new[] { "a", "b" }.Select(folder => BitmapsAsync($"@{folder}/{Top}")));
        Assert.True(infos[0] == infos[1], $"bitmaps {infos[0]} and {infos[1]} after {Story()}");
    }

    private async Task JudgeImageAsync(string image)
    {
        var check = await _scene.TheirsAsync(version, "check", "-f", "qcow2", "--output", "json", image);
        Assert.True(check.ExitCode == 0, $"{version} finds {check.Output}{check.Error} in {image} after {Story()}");
        AssertAlike(check.Output, (await _scene.OursAsync("check", "-f", "qcow2", "--output", "json", image)).Output);
        string[] info = ["info", "-f", "qcow2", "--output", "json", image];
        AssertAlike(
            QemuImgScene.Normalize(await _scene.TheirsOkAsync(version, info), "children"),
            QemuImgScene.Normalize(await _scene.OursOkAsync(info), "children"));
        string[] map = ["map", "-f", "qcow2", "--output", "json", image];
        AssertAlike(Reduce(await _scene.TheirsOkAsync(version, map)), Reduce(await _scene.OursOkAsync(map)));
    }

    private async Task<string> BitmapsAsync(string image)
    {
        var info = JsonNode.Parse(await _scene.TheirsOkAsync(version, "info", "--output", "json", image))!;
        List<string> all = [];
        foreach (var bitmap in info["format-specific"]!["data"]!["bitmaps"]?.AsArray() ?? [])
        {
            var name = (string)bitmap!["name"]!;
            all.Add($"{bitmap.ToJsonString()}: {await BitmapReader.ReadAsync(image.Replace("@", _scene.File("") + "/",
                StringComparison.Ordinal), name)}");
        }

        return string.Join('\n', all.Order(StringComparer.Ordinal));
    }

    // Older releases do not say whether a run is allocated or compressed: runs that differ in nothing else are one.
    private string Reduce(string map)
    {
        if (version.Version >= new Version(10, 0))
        {
            return map;
        }

        List<string> entries = [];
        (long Start, long End, string What, long Offset) last = (0, 0, "", -1);
        foreach (var entry in JsonNode.Parse(map)!.AsArray())
        {
            var (start, length) = ((long)entry!["start"]!, (long)entry["length"]!);
            var what = $"{entry["depth"]} {entry["zero"]} {entry["data"]}";
            var offset = entry["offset"] is { } place ? (long)place : -1;
            var follows = offset < 0
                ? last.Offset < 0
                : last.Offset >= 0 && last.Offset + (last.End - last.Start) == offset;
            if (follows && what == last.What)
            {
                last.End = start + length;
                continue;
            }

            entries.Add($"{last}");
            last = (start, start + length, what, offset);
        }

        entries.Add($"{last}");
        return string.Join('\n', entries);
    }

    private async Task AddOverlayAsync()
    {
        var (below, name) = (Top, NewName());
        string[] size = random.Next(2) == 0 ? [Size()] : [];
        var options = PickOptions();
        if (options.Contains("preallocation", StringComparison.Ordinal))
        {
            options = "cluster_size=64k";
        }

        await DoAsync(
            ["create", "-q", "-f", "qcow2", "-o", options, "-b", below, "-F", "qcow2", "{}/" + name, .. size]);
        _images.Add(name);
    }

    private async Task CommitAsync()
    {
        string[] options = random.Next(3) == 0 ? ["-d"] : [];
        await DoAsync(["commit", "-q", "-f", "qcow2", .. options, "{}/" + Top]);
        if (options.Length > 0)
        {
            // What is left in the overlay is what was committed.
            _images.RemoveAt(_images.Count - 1);
        }
    }

    private async Task RebaseAsync()
    {
        var to = random.Next(_images.Count - 1);
        await DoAsync("rebase", "-q", "-f", "qcow2", "-b", _images[to], "-F", "qcow2", "{}/" + Top);
        _images.RemoveRange(to + 1, _images.Count - to - 2);
    }

    private async Task ConvertAsync()
    {
        var name = NewName();
        string[] options = random.Next(4) switch
        {
            0 => ["-c"],
            1 when version.Version >= new Version(7, 0) => ["-c", "-o", "compression_type=zstd"],
            2 => ["-o", "extended_l2=on"],
            _ => [],
        };
        await DoAsync(["convert", "-f", "qcow2", "-O", "qcow2", .. options, "{}/" + Top, "{}/" + name]);
        _images.Clear();
        _images.Add(name);
    }

    private async Task ChangeBitmapsAsync()
    {
        var image = "{}/" + Top;
        var info = JsonNode.Parse(await _scene.TheirsOkAsync(version, "info", "--output", "json", $"@a/{Top}"))!;
        var data = info["format-specific"]!["data"]!;
        if ((string)data["compat"]! == "0.10")
        {
            return;
        }

        var names = (data["bitmaps"]?.AsArray() ?? []).Select(bitmap => (string)bitmap!["name"]!).ToArray();
        var some = names.Length == 0 ? "" : names[random.Next(names.Length)];
        await DoAsync(["bitmap", .. random.Next(names.Length == 0 ? 1 : 6) switch
        {
            0 => (string[])["--add", "-g", Number(512L << random.Next(9)), image, $"b{_next++}"],
            1 => ["--remove", image, some],
            2 => ["--clear", image, some],
            3 => ["--disable", image, some],
            4 => ["--enable", image, some],
            _ => ["--merge", names[random.Next(names.Length)], image, some],
        }]);
    }

    private async Task WriteAsync()
    {
        var info = JsonNode.Parse(await _scene.TheirsOkAsync(version, "info", "--output", "json", $"@a/{Top}"))!;
        var sectors = (int)((long)info["virtual-size"]! / 512);
        List<string> commands = [];
        for (var count = random.Next(1, 6); count > 0; count--)
        {
            var unit = random.Next(3) switch { 0 => 1, 1 => 8, _ => Unit / 512 };
            var start = random.Next(sectors / unit) * unit;
            var length = Math.Min(sectors - start, unit * random.Next(1, unit == 1 ? 300 : 6));
            var range = $"{Number(start * 512L)} {Number(length * 512L)}";
            commands.Add("-c");
            commands.Add(random.Next(6) switch
            {
                0 => $"write -z {range}",
                1 => $"write -z -u {range}",
                2 => $"discard {range}",
                _ => $"write -P {random.Next(1, 256)} {range}",
            });
        }

        _story.Add($"qemu-io {string.Join(' ', commands)} {Top}");
        foreach (var folder in new[] { "a", "b" })
        {
            var image = $"driver=qcow2,file.filename={_scene.File(folder)}/{Top},discard=unmap";
            var result = await Tool.RunAsync(version.Program("qemu-io"), [.. commands, "--image-opts", image]);
            Assert.True(result.ExitCode == 0, $"{result.Error} after {Story()}");
        }
    }

    // One of the two copies by us, the other by them.
    private async Task DoAsync(params string[] line)
    {
        var (ours, theirs) = random.Next(2) == 0 ? ("a", "b") : ("b", "a");
        _story.Add($"{string.Join(' ', line)} (a by {(ours == "a" ? "us" : "them")})");
        var left = await _scene.OursAsync(In(line, ours));
        var right = await _scene.TheirsAsync(version, In(line, theirs));
        Assert.True(
            left.ExitCode == 0 && right.ExitCode == 0,
            $"we: {left.ExitCode} {left.Error}; they: {right.ExitCode} {right.Error}; after {Story()}");
    }

    private static string[] In(string[] line, string folder) =>
        [.. line.Select(word => word.Replace("{}", "@" + folder, StringComparison.Ordinal))];

    private void AssertAlike(string theirs, string ours) =>
        Assert.True(theirs == ours, $"they say\n{theirs}\nwe say\n{ours}\nafter {Story()}");

    private void AssertSame(byte[] one, byte[] other, string what)
    {
        Assert.True(one.Length == other.Length, $"{what} are {one.Length} and {other.Length} bytes after {Story()}");
        var common = one.AsSpan().CommonPrefixLength(other);
        Assert.True(common == one.Length, $"{what} differ at {common} after {Story()}");
    }

    private string Story() => string.Join("\n", _story);

    private string NewName() => $"{_next++}.qcow2";

    private string PickOptions() => s_options[random.Next(s_options.Length)];

    private string Size() => Number((long)random.Next(Units / 2, Units) * Unit);

    private static string Number(long value) => value.ToString(CultureInfo.InvariantCulture);
}
