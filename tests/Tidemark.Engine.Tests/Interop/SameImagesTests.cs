using Tidemark.Testing;
using Xunit;

namespace Tidemark.Engine.Tests.Interop;

/// <summary>
/// The same commit, stream or mirror by QEMU's storage daemon and by the engine, on copies of the same random images
/// with persistent bitmaps, the same guest writing meanwhile: every image reads the same afterwards, has the same
/// clusters, is sound, names the same image below it, and its bitmaps name the same granules.
/// </summary>
[Trait("Category", "Interop")]
[Trait("Category", "Long")]
public sealed class SameImagesTests
{
    private const int DiskLength = 4 << 20;

    // Where each bitmap is: on the layer at which it was made, and above, as a snapshot carries it on.
    private static readonly (string Name, string[] Layers)[] s_bitmaps =
        [("old", ["top", "mid", "base"]), ("new", ["top", "mid"]), ("last", ["top"])];

    private static readonly string[] s_layers = ["base", "mid", "top"];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("commit-active-base", false)]
    [InlineData("commit-active-base", true)]
    [InlineData("commit-active-mid", false)]
    [InlineData("commit-active-mid", true)]
    [InlineData("commit-mid", false)]
    [InlineData("commit-mid", true)]
    [InlineData("stream-base", false)]
    [InlineData("stream-all", true)]
    [InlineData("mirror-full", false)]
    [InlineData("mirror-top", true)]
    public Task The_images_are_QEMUs(string operation, bool readOnlyLayers) => TestSeed.RunAsync(async random =>
    {
        var versions = new[] { QemuVersions.Need("7.2"), QemuVersions.Need("11.1") };
        using var folder = new TemporaryDirectory();
        var origin = Directory.CreateDirectory(folder.File("origin")).FullName;
        await BuildAsync(origin, random);
        var writes = Enumerable.Range(0, 4).Select(_ => Writes(random).ToList()).ToArray();

        var ours = Copy(origin, folder.File("ours"));
        await using (var engine = new StorageEngine())
        {
            await using var monitor = await engine.ConnectInProcessAsync(Token);
            await PlayAsync(new ChainContestant(monitor, ours, readOnlyLayers), operation, writes);
        }

        var judged = await ImageJudgement.OfAsync(ours);
        foreach (var version in versions)
        {
            var theirs = Copy(origin, folder.File(version.Name));
            await using (var daemon = await RealDaemon.StartAsync(version.Program("qemu-storage-daemon")))
            {
                await PlayAsync(new ChainContestant(daemon.Monitor, theirs, readOnlyLayers), operation, writes);
                await daemon.QuitAsync();
            }

            Assert.Equal(await ImageJudgement.OfAsync(theirs), judged);
        }
    });

    private static async Task PlayAsync(
        ChainContestant one, string operation, List<(long Offset, byte[] Bytes)>[] writes)
    {
        await one.OpenAsync(s_layers);
        await one.WriteAsync(writes[0]);
        switch (operation)
        {
            case "commit-active-base":
                await PivotAsync(one, "block-commit", "'device':'top','base-node':'base'", "base", writes);
                break;
            case "commit-active-mid":
                await PivotAsync(one, "block-commit", "'device':'top','base-node':'mid'", "mid", writes);
                break;
            case "commit-mid":
                await one.StartAsync(
                    "block-commit", "'device':'top','top-node':'mid','base-node':'base'", "concluded");
                await one.DismissAsync();
                break;
            case "stream-base":
                await one.StartAsync("block-stream", "'device':'top','base-node':'base'", "concluded");
                await one.DismissAsync();
                break;
            case "stream-all":
                await one.StartAsync("block-stream", "'device':'top'", "concluded");
                await one.DismissAsync();
                break;
            case "mirror-full":
                await one.AddImageAsync("copy", null);
                await PivotAsync(
                    one, "blockdev-mirror", "'device':'top','target':'copy','sync':'full'", "copy", writes);
                break;
            case "mirror-top":
                await one.AddImageAsync("copy", "mid");
                await PivotAsync(
                    one, "blockdev-mirror", "'device':'top','target':'copy','sync':'top'", "copy", writes);
                break;
            default:
                throw new ArgumentException(operation);
        }

        await one.WriteAsync(writes[3]);
    }

    // With the commands that libvirt sends before and after.
    private static async Task PivotAsync(
        ChainContestant one,
        string command,
        string arguments,
        string target,
        List<(long Offset, byte[] Bytes)>[] writes)
    {
        await one.StartAsync(command, arguments, "ready");
        await one.WriteAsync(writes[1]);
        await one.DoAsync(
            "block-dirty-bitmap-add", $"{{'node':'{target}','name':'active','persistent':false,'disabled':false}}");
        await one.WriteAsync(writes[2]);
        await one.CompleteAsync();
        await one.MergeAsync(target, s_bitmaps);
    }

    // Three layers, each with data, zeroes and holes of its own, and a target for mirrors.
    private static async Task BuildAsync(string folder, Random random)
    {
        var clusterSize = random.Next(2) == 0 ? 4096 : 65536;
        string? below = null;
        foreach (var (index, layer) in s_layers.Index())
        {
            var path = Path.Combine(folder, layer);
            string[] backing = below is null ? [] : ["-b", below, "-F", "qcow2"];
            await Tool.RunOkAsync(
                "qemu-img",
                [
                    "create", "-q", "-f", "qcow2", "-o", $"cluster_size={clusterSize}", .. backing, path,
                    $"{DiskLength}",
                ]);
            await ChangeAsync(path, random);
            foreach (var (name, layers) in s_bitmaps.Where(one => one.Layers.Contains(layer)))
            {
                await Tool.RunOkAsync("qemu-img", "bitmap", "--add", "-g", "65536", path, name);
            }

            await ChangeAsync(path, random);
            below = layer;
        }

        await Tool.RunOkAsync(
            "qemu-img", "create", "-q", "-f", "qcow2", "-o", $"cluster_size={clusterSize}",
            Path.Combine(folder, "copy"), $"{DiskLength}");
    }

    private static Task ChangeAsync(string path, Random random)
    {
        List<string> arguments = [];
        for (var index = 0; index < 6; index++)
        {
            var offset = random.Next(DiskLength / 512 * 3 / 4) * 512;
            var length = random.Next(1, 600) * 512;
            arguments.AddRange(
            [
                "-c",
                random.Next(4) switch
                {
                    0 => $"write -q -z {offset} {length}",
                    1 => $"write -q -z -u {offset} {length}",
                    _ => $"write -q -P {random.Next(1, 256)} {offset} {length}",
                },
            ]);
        }

        return Tool.RunOkAsync("qemu-io", [.. arguments, path]);
    }

    private static IEnumerable<(long Offset, byte[] Bytes)> Writes(Random random)
    {
        for (var index = 0; index < 6; index++)
        {
            var bytes = new byte[random.Next(1, 200) * 512];
            random.NextBytes(bytes);
            yield return (random.Next((DiskLength - bytes.Length) / 512) * 512, bytes);
        }
    }

    private static string Copy(string from, string to)
    {
        Directory.CreateDirectory(to);
        foreach (var file in Directory.EnumerateFiles(from))
        {
            File.Copy(file, Path.Combine(to, Path.GetFileName(file)));
        }

        return to;
    }
}
