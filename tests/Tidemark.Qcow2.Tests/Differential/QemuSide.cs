using System.Globalization;
using System.Text.Json.Nodes;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Qcow2.Tests.Differential;

/// <summary>One QEMU release as writer and as judge of an image.</summary>
internal sealed class QemuSide(QemuVersion version, DifferentialKind kind, string path)
{
    private const int Changes = 8;

    private string QemuImg => version.Program("qemu-img");

    internal async Task CreateAsync(string dataFile, string? backing)
    {
        var options = kind.Options.Replace("{data}", dataFile, StringComparison.Ordinal);
        List<string> arguments = ["create", "-q", "-f", "qcow2"];
        arguments.AddRange(options.Length > 0 ? ["-o", options] : []);
        arguments.AddRange(backing is not null ? ["-b", backing, "-F", "raw"] : []);
        await RunAsync(QemuImg, [.. arguments, path, Number(kind.Length)]);
    }

    /// <summary>Random changes, with everything that QEMU's programs offer.</summary>
    internal async Task ChangeAsync(DiskModel model, Random random)
    {
        if (kind.HasSnapshots)
        {
            await ChangeSnapshotsAsync(model, random);
        }

        if (kind.HasBitmaps)
        {
            await ChangeBitmapsAsync(model, random);
        }

        if (kind.Resizes && random.Next(2) == 0)
        {
            await ResizeAsync(model, (kind.Length / 512 * 512) + ((random.Next(2000) - 1000) * 512));
        }

        var unmaps = random.Next(2) == 0;
        List<DiskChange> changes = [];
        for (var count = random.Next(1, Changes); count > 0; count--)
        {
            var change = DiskChange.Next(random, model, kind.ClusterSize, kind.CanCompress);
            if (change.Kind == DiskChangeKind.Compressed && EndsCompressed(changes))
            {
                await DoAsync(model, changes, unmaps);
                changes.Clear();
            }

            changes.Add(change);
            if (unmaps || change.Kind != DiskChangeKind.Discard)
            {
                change.ApplyTo(model);
            }
        }

        await DoAsync(model, changes, unmaps);
    }

    // QEMU, 5.2 to 11.1, packs compressed clusters behind the last one that it wrote since it opened the image, also
    // when that place was freed meanwhile and its host cluster belongs to other data, which is then overwritten
    // (FreedPlaceTests). So one program writes no compressed cluster after it may have freed one of its own.
    private static bool EndsCompressed(List<DiskChange> changes) =>
        changes.Where(change => change.Kind == DiskChangeKind.Compressed)
            .Any(packed => changes.Any(change => !ReferenceEquals(change, packed)
                && change.Offset < packed.Offset + packed.Length && packed.Offset < change.Offset + change.Length));

    /// <summary>Makes these changes, in one run of QEMU's program.</summary>
    internal async Task DoAsync(DiskModel model, List<DiskChange> changes, bool unmaps)
    {
        var image = $"driver=qcow2,file.filename={path},discard={(unmaps ? "unmap" : "ignore")}"
            + (kind.KeepsOnDiscard && version.Version >= new Version(8, 1) ? ",discard-no-unref=on" : "");
        var commands = changes.ConvertAll(Command);
        model.History.Add($"qemu-io {image}: {string.Join("; ", commands)}");
        var output = await RunAsync(
            version.Program("qemu-io"),
            [.. commands.SelectMany(command => (string[])["-c", command]), "--image-opts", image]);
        Assert.DoesNotContain("failed", output, StringComparison.Ordinal);
    }

    /// <summary>The disk as this QEMU reads it.</summary>
    internal async Task<byte[]> ReadAsync(string scratch)
    {
        await RunAsync(QemuImg, "convert", "-f", "qcow2", "-O", "raw", path, scratch);
        return await File.ReadAllBytesAsync(scratch);
    }

    /// <summary>What this QEMU says of an image that the other side has written: it is clean, and it says what we
    /// say.</summary>
    internal async Task JudgeAsync(DiskModel model, string scratch)
    {
        var checkText = await RunAsync(QemuImg, "check", "--output=json", "-f", "qcow2", path);
        var check = JsonNode.Parse(checkText)!;
        foreach (var what in new[] { "leaks", "corruptions", "check-errors" })
        {
            Assert.True((long?)check[what] is null or 0, checkText);
        }

        var difference = model.Compare(await ReadAsync(scratch));
        Assert.True(difference is null, $"{version} reads: {difference}");
        var infoText = await RunAsync(QemuImg, "info", "--output=json", "-f", "qcow2", path);
        var info = JsonNode.Parse(infoText)!;
        Assert.Equal(model.Bytes.Length, (long)info["virtual-size"]!);
        var names = (info["snapshots"]?.AsArray() ?? []).Select(snapshot => (string)snapshot!["name"]!);
        Assert.Equal(model.Snapshots.Keys, names.Order(StringComparer.Ordinal));
        var bitmaps = (info["format-specific"]?["data"]?["bitmaps"]?.AsArray() ?? []).Select(bitmap =>
            $"{bitmap!["name"]} {bitmap["granularity"]} {string.Join(',', bitmap["flags"]!.AsArray())}");
        Assert.Equal(
            model.Bitmaps.Select(pair =>
                $"{pair.Key} {pair.Value.Granularity} {(pair.Value.IsRecording ? "auto" : "")}"),
            bitmaps.Order(StringComparer.Ordinal));
    }

    /// <summary>Goes back to each snapshot: nobody has harmed it.</summary>
    internal async Task JudgeSnapshotsAsync(DiskModel model, string scratch)
    {
        // QEMU goes back to no snapshot while there are bitmaps.
        foreach (var name in model.Bitmaps.Keys.Where(_ => model.Snapshots.Count > 0))
        {
            await RunAsync(QemuImg, "bitmap", "--remove", path, name);
        }

        foreach (var (name, bytes) in model.Snapshots)
        {
            await RunAsync(QemuImg, "snapshot", "-q", "-a", name, path);
            var read = await ReadAsync(scratch);
            Assert.True(read.AsSpan(0, bytes.Length).SequenceEqual(bytes), $"snapshot {name} has changed");
        }

        await RunAsync(QemuImg, "check", "-q", "-f", "qcow2", path);
    }

    private static string Command(DiskChange change) => change.Kind switch
    {
        DiskChangeKind.Write => $"write -P {change.Pattern} {change.Offset} {change.Length}",
        DiskChangeKind.Compressed => $"write -c -P {change.Pattern} {change.Offset} {change.Length}",
        DiskChangeKind.Zero => $"write -z {change.Offset} {change.Length}",
        DiskChangeKind.ZeroAndUnmap => $"write -z -u {change.Offset} {change.Length}",
        DiskChangeKind.Discard => $"discard {change.Offset} {change.Length}",
        _ => $"write -f -z {change.Offset} {change.Length}",
    };

    private async Task ChangeSnapshotsAsync(DiskModel model, Random random)
    {
        if (model.Snapshots.Count < 3 && random.Next(2) == 0)
        {
            var name = $"s{random.Next(1000)}";
            if (model.Snapshots.TryAdd(name, [.. model.Bytes]))
            {
                await RunAsync(model, "snapshot", "-q", "-c", name, path);
            }
        }
        else if (model.Snapshots.Count > 0 && random.Next(3) == 0)
        {
            var name = model.Snapshots.Keys.ElementAt(random.Next(model.Snapshots.Count));
            await RunAsync(model, "snapshot", "-q", "-d", name, path);
            model.Snapshots.Remove(name);
        }
    }

    private async Task ChangeBitmapsAsync(DiskModel model, Random random)
    {
        if (model.Bitmaps.Count < 3 && random.Next(2) == 0)
        {
            var (name, granularity) = ($"q{random.Next(1000)}", 512 << random.Next(12));
            if (model.Bitmaps.TryAdd(name, new ModelBitmap(model.Bytes.Length, granularity)))
            {
                await RunAsync(model, "bitmap", "--add", "-g", Number(granularity), path, name);
            }
        }
        else if (model.Bitmaps.Count > 0)
        {
            var (name, bitmap) = model.Bitmaps.ElementAt(random.Next(model.Bitmaps.Count));
            var action = random.Next(4) switch
            {
                0 => "--remove",
                1 => "--clear",
                2 => bitmap.IsRecording ? "--disable" : "--enable",
                _ => "",
            };
            if (action.Length == 0)
            {
                return;
            }

            await RunAsync(model, "bitmap", action, path, name);
            switch (action)
            {
                case "--remove":
                    model.Bitmaps.Remove(name);
                    break;
                case "--clear":
                    bitmap.Clear();
                    break;
                default:
                    bitmap.IsRecording = !bitmap.IsRecording;
                    break;
            }
        }
    }

    // QEMU, 5.2 to 11.1, does not zero the rest of a disk's last cluster: after it was made smaller and larger again,
    // the old bytes are back there. A guest would find them too; here they are zeroed, as our own resize does it.
    private async Task ResizeAsync(DiskModel model, int size)
    {
        var before = model.Bytes.Length;
        await RunAsync(model, "resize", "-q", "-f", "qcow2", "--shrink", path, Number(size));
        model.Resize(size);
        var rest = Math.Min(size, (before + kind.ClusterSize - 1) / kind.ClusterSize * kind.ClusterSize) - before;
        if (rest > 0)
        {
            var zero = $"write -z {Number(before)} {Number(rest)}";
            model.History.Add($"qemu-io {zero}");
            await RunAsync(version.Program("qemu-io"), "-f", "qcow2", "-c", zero, path);
            model.Write(before, new byte[rest]);
        }
    }

    // qemu-img, as the history tells it.
    private async Task RunAsync(DiskModel model, params string[] arguments)
    {
        model.History.Add($"qemu-img {string.Join(' ', arguments)}");
        await RunAsync(QemuImg, arguments);
    }

    private static string Number(long value) => value.ToString(CultureInfo.InvariantCulture);

    private static async Task<string> RunAsync(string program, params string[] arguments)
    {
        var result = await Tool.RunAsync(program, arguments);
        Assert.True(result.ExitCode == 0,
            $"{program} {string.Join(' ', arguments)}: {result.ExitCode}: {result.Error}{result.Output}");
        return result.Output;
    }
}
