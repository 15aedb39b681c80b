using Tidemark.Testing;

namespace Tidemark.Cli.Tests.Nbd;

/// <summary>Each context of our server beside qemu-nbd's, extent by extent, on images of every kind.</summary>
[Trait("Category", "Interop")]
public sealed class NbdExtentKindsTests : IDisposable
{
    private readonly TemporaryDirectory _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("raw")]
    [InlineData("qcow2")]
    [InlineData("qcow2,compat=0.10")]
    [InlineData("qcow2,extended_l2=on")]
    [InlineData("qcow2,cluster_size=4k")]
    [InlineData("qcow2,cluster_size=2M")]
    [InlineData("qcow2,data_file=external.raw")]
    [InlineData("qcow2,preallocation=metadata")]
    [InlineData("qcow2,preallocation=metadata,extended_l2=on")]
    [InlineData("qcow2,preallocation=falloc")]
    [InlineData("written in part")]
    [InlineData("chain of preallocated images")]
    [InlineData("compressed")]
    [InlineData("chain of a short raw base")]
    [InlineData("chain of subclusters")]
    public async Task Every_context_is_that_of_qemu_nbd(string kind)
    {
        var missing = Tool.Missing("nbdinfo", "qemu-nbd", "qemu-img", "qemu-io");
        Assert.SkipWhen(missing is not null, missing ?? "");
        var (image, format) = await CreateAsync(kind);
        var hasBitmap = format == "qcow2" && !kind.Contains("0.10", StringComparison.Ordinal);
        string[] bitmap = hasBitmap ? ["-B", "b0"] : [];
        string[] contexts =
        [
            "base:allocation", "qemu:allocation-depth",
            .. hasBitmap ? ["qemu:dirty-bitmap:b0"] : Array.Empty<string>(),
        ];
        await using var ours = await NbdServing.StartAsync(
            [image, "-k", _folder.File("ours.sock"), "-r", "-f", format, "-A", .. bitmap]);
        foreach (var (program, socket) in Peers(kind))
        {
            using var theirs = await NbdPeer.StartAsync(
                socket, program, ["-k", socket, "-r", "-t", "-f", format, "-e", "4", "-A", .. bitmap, image]);
            foreach (var context in contexts)
            {
                var expected = await CompareAsync(context, ours.Uri, $"nbd+unix:///?socket={socket}");
                Assert.True(
                    kind == "raw" || context != "base:allocation" || expected.Split('\n').Length > 2,
                    $"{context} says the same of all: {expected}");

                // A zero that is no hole is what the file below says; of what is filled, and of subclusters that
                // nobody has written, there is none.
                Assert.True(
                    !SetsAside(kind) || context != "base:allocation"
                        || expected.Contains(" 2  zero", StringComparison.Ordinal)
                        == kind is not ("qcow2,preallocation=falloc" or "qcow2,preallocation=metadata,extended_l2=on"),
                    expected);
            }
        }
    }

    // Servers and clients, ours and theirs, on each other.
    private static async Task<string> CompareAsync(string context, params string[] uris)
    {
        var expected = await Tool.RunOkAsync("nbdinfo", $"--map={context}", uris[1]);
        Assert.Equal(expected, await Tool.RunOkAsync("nbdinfo", $"--map={context}", uris[0]));
        foreach (var uri in uris)
        {
            using var console = new TestConsole();
            Assert.Equal(ExitCode.Success, await console.RunAsync(["nbd", "info", $"--map={context}", uri]));
            Assert.Equal(expected, console.Output);
        }

        return expected;
    }

    // Whether a cluster was set aside in advance is guessed: there every version is asked.
    private IEnumerable<(string Program, string Socket)> Peers(string kind)
    {
        yield return ("qemu-nbd", _folder.File("theirs.sock"));
        if (SetsAside(kind))
        {
            foreach (var version in QemuVersions.All.Where(version => version.Name != "5.2"))
            {
                yield return (version.Program("qemu-nbd"), _folder.File($"{version.Name}.sock"));
            }
        }
    }

    private static bool SetsAside(string kind) =>
        kind.Contains("preallocat", StringComparison.Ordinal) || kind == "written in part";

    // Data, zeroes that keep or lose their clusters, discards, in every image of the kind.
    private async Task<(string Image, string Format)> CreateAsync(string kind)
    {
        var unit = kind.Contains("2M", StringComparison.Ordinal) ? 2048 : 64;
        var size = $"{128 * unit}k";
        var image = _folder.File("image");
        switch (kind)
        {
            case "raw":
                await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "raw", image, size);
                await WriteAsync(image, "raw", unit);
                return (image, "raw");
            case "compressed":
                var plain = _folder.File("plain");
                await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "raw", plain, size);
                await WriteAsync(plain, "raw", unit);
                await Tool.RunOkAsync("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", plain, image);
                await AddBitmapAsync(image);
                await Tool.RunOkAsync("qemu-io", "-f", "qcow2", "-c", "write -P 3 1M 4k", image);
                return (image, "qcow2");
            case "written in part":
                // By our own node, which leaves the rest of a cluster to the file's hole.
                await CreateQcow2Async(image, size, "");
                await AddBitmapAsync(image);
                await using (var writing = await NbdServing.StartAsync(
                    image, "-k", _folder.File("w.sock"), "-f", "qcow2"))
                {
                    await Tool.RunOkAsync(
                        "qemu-io",
                        ["-f", "raw",
                            .. Enumerable.Range(0, 40).SelectMany(
                                index => (string[])["-c", $"write -P 5 {(index * 3 * unit) + 8}k 4k"]),
                            writing.Uri]);
                }

                return (image, "qcow2");
            case "chain of preallocated images":
                await CreateQcow2Async(_folder.File("base"), size, "preallocation=metadata");
                await WriteAsync(_folder.File("base"), "qcow2", unit);
                await CreateQcow2Async(
                    image, size, "preallocation=metadata,extended_l2=on", "-b", _folder.File("base"), "-F", "qcow2");
                break;
            case "chain of a short raw base":
                await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "raw", _folder.File("base"), "3000k");
                await Tool.RunOkAsync("qemu-io", "-f", "raw", "-c", "write -P 1 2M 900k", _folder.File("base"));
                await CreateQcow2Async(image, size, "", "-b", _folder.File("base"), "-F", "raw");
                break;
            case "chain of subclusters":
                await CreateQcow2Async(_folder.File("base"), size, "extended_l2=on");
                await WriteAsync(_folder.File("base"), "qcow2", unit);
                await CreateQcow2Async(image, size, "extended_l2=on", "-b", _folder.File("base"), "-F", "qcow2");
                await AddBitmapAsync(image);
                await Tool.RunOkAsync(
                    "qemu-io", "-f", "qcow2", "-c", "write -P 4 6k 2k", "-c", "write -z 1028k 6k", "-c",
                    "write -zu 2M 70k", "-c", "discard 4M 64k", image);
                return (image, "qcow2");
            default:
                var options = string.Join(',', kind.Split(',').Skip(1)).Replace(
                    "external.raw", _folder.File("external.raw"), StringComparison.Ordinal);
                await CreateQcow2Async(image, size, options);
                break;
        }

        if (!kind.Contains("0.10", StringComparison.Ordinal))
        {
            await AddBitmapAsync(image);
        }

        await WriteAsync(image, "qcow2", unit);
        return (image, "qcow2");
    }

    private static Task CreateQcow2Async(string image, string size, string options, params string[] more) =>
        Tool.RunOkAsync(
            "qemu-img",
            ["create", "-q", "-f", "qcow2", .. options.Length > 0 ? ["-o", options] : Array.Empty<string>(), .. more,
                image, size]);

    private static Task AddBitmapAsync(string image) => Tool.RunOkAsync("qemu-img", "bitmap", "--add", image, "b0");

    // In units of so many KiB.
    private static Task WriteAsync(string image, string format, int unit)
    {
        string[] commands =
        [
            "write -P 1,0,2", "write -P 2,16,16", "write -z,17,2", "write -zu,22,3", "discard,28,2", "write -P 3,48,1",
            "write -z,80,1", "write -P 4,96,1", "write -zu,98,2", "write -P 0,112,1",
        ];
        return Tool.RunOkAsync(
            "qemu-io",
            ["-f", format, "-d", "unmap",
                .. commands.Select(command => command.Split(',')).SelectMany(
                    part => (string[])["-c", $"{part[0]} {Kilobytes(part[1])} {Kilobytes(part[2])}"]),
                image]);

        string Kilobytes(string count) =>
            $"{int.Parse(count, System.Globalization.CultureInfo.InvariantCulture) * unit}k";
    }
}
