using System.Diagnostics;
using System.Text.Json.Nodes;
using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Files;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Qcow2.Tests;

/// <summary>Persistent bitmaps in both directions with QEMU: the same dirty count, the same flags.</summary>
[Trait("Category", "Interop")]
public sealed class BitmapInteropTests : IDisposable
{
    private const long Mib = 1 << 20;

    private readonly TemporaryDirectory _directory = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _directory.Dispose();

    [Theory]
    [InlineData(512)]
    [InlineData(65536)]
    public async Task QemuLoadsWhatWeStored(int clusterSize)
    {
        SkipWithout("qemu-img", "qemu-storage-daemon");
        var path = _directory.File("ours.qcow2");
        await using (var file = RawFileNode.Create("file", path, 0))
        {
            await Qcow2Image.CreateAsync(file, new Qcow2CreateOptions { Length = 64 * Mib, ClusterSize = clusterSize },
                Token);
            await using var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token);
            node.Bitmaps.Add(new DirtyBitmap("fine", node.Length, 512) { IsPersistent = true });
            node.Bitmaps.Add(new DirtyBitmap("coarse", node.Length, Mib) { IsPersistent = true });
            node.Bitmaps.Add(new DirtyBitmap("still", node.Length, 65536) { IsPersistent = true, IsRecording = false });
            node.Bitmaps.Add(new DirtyBitmap("full", node.Length, 4096) { IsPersistent = true });
            node.Bitmaps.Add(new DirtyBitmap("transient", node.Length));
            node.Bitmaps.Find("full")!.Set(0, node.Length);
            node.Bitmaps.Find("still")!.Set(5 * Mib, Mib);
            await node.WriteAsync(3 * Mib, new byte[300_000], cancellationToken: Token);
            await node.WriteAsync(63 * Mib, new byte[1], cancellationToken: Token);
        }

        await Tool.RunOkAsync("qemu-img", "check", path);
        var bitmaps = await QueryAsync(path);
        Assert.Equal(
            ["coarse 2097152 1048576 recording", "fine 300544 512 recording", "full 67108864 4096 recording",
                "still 1048576 65536"],
            bitmaps);
    }

    [Fact]
    public async Task WeLoadWhatQemuStored()
    {
        SkipWithout("qemu-img", "qemu-io", "qemu-storage-daemon");
        var path = _directory.File("theirs.qcow2");
        await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "qcow2", path, "1G");
        await Tool.RunOkAsync("qemu-img", "bitmap", "--add", "-g", "64k", path, "one");
        await Tool.RunOkAsync("qemu-img", "bitmap", "--add", "-g", "512", path, "two");
        await Tool.RunOkAsync("qemu-img", "bitmap", "--add", "--disable", path, "off");
        await Tool.RunOkAsync("qemu-io", "-f", "qcow2", "-c", "write 100M 10M", "-c", "write 1023M 1M", path);
        await using (var file = RawFileNode.Open("file", path, readOnly: false))
        {
            await using var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token);
            Assert.Equal(11 * Mib, node.Bitmaps.Find("one")!.DirtyBytes);
            Assert.Equal(11 * Mib, node.Bitmaps.Find("two")!.DirtyBytes);
            Assert.Equal(0, node.Bitmaps.Find("off")!.DirtyBytes);
            Assert.False(node.Bitmaps.Find("off")!.IsRecording);
            Assert.True(node.Bitmaps.Find("one") is { IsRecording: true, IsPersistent: true, IsInconsistent: false });
            await node.WriteAsync(500 * Mib, new byte[65536], cancellationToken: Token);
        }

        await Tool.RunOkAsync("qemu-img", "check", path);
        Assert.Equal(
            ["off 0 65536", "one 11599872 65536 recording", "two 11599872 512 recording"], await QueryAsync(path));
    }

    [Fact]
    public async Task AKilledWriterLeavesInconsistentBitmapsOnBothSides()
    {
        SkipWithout("qemu-img", "qemu-storage-daemon");
        var path = _directory.File("killed.qcow2");
        await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "qcow2", path, "64M");
        await Tool.RunOkAsync("qemu-img", "bitmap", "--add", path, "one");
        await KillQemuAsync(path);
        await using (var file = RawFileNode.Open("file", path, readOnly: false))
        {
            await using var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token);
            Assert.True(node.Bitmaps.Find("one") is { IsInconsistent: true, IsRecording: false });
            await node.WriteAsync(0, new byte[512], cancellationToken: Token);
        }

        // Kept as it is until somebody removes it.
        Assert.Equal(["one 0 65536 inconsistent"], await QueryAsync(path));
        await using (var file = RawFileNode.Open("file", path, readOnly: false))
        {
            await using var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token);
            await node.RemoveStoredBitmapAsync("one", Token);
            node.Bitmaps.Remove(node.Bitmaps.Find("one")!);
            node.Bitmaps.Add(new DirtyBitmap("two", node.Length) { IsPersistent = true });
        }

        Assert.Equal(["two 0 65536 recording"], await QueryAsync(path));
        var crashed = _directory.File("crashed.qcow2");
        await using (var file = RawFileNode.Open("file", path, readOnly: false))
        {
            await using var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token);
            await node.WriteAsync(0, new byte[512], cancellationToken: Token);
            File.Copy(path, crashed);
        }

        Assert.Equal(["two 0 65536 inconsistent"], await QueryAsync(crashed));
        await Tool.RunOkAsync("qemu-img", "check", path);
    }

    private static void SkipWithout(params string[] tools)
    {
        var why = Tool.Missing(tools);
        Assert.SkipWhen(why is not null, why ?? "");
    }

    // The bitmaps as QEMU sees them: name, dirty bytes, granularity, flags.
    private static async Task<string[]> QueryAsync(string path)
    {
        var result = await Tool.RunAsync(
            "qemu-storage-daemon",
            [
                "--blockdev", $"driver=file,filename={path},node-name=f",
                "--blockdev", "driver=qcow2,file=f,node-name=q,read-only=on",
                "--chardev", "stdio,id=c", "--monitor", "chardev=c",
            ],
            """
            {"execute":"qmp_capabilities"}
            {"execute":"query-named-block-nodes"}
            {"execute":"quit"}
            """);
        var reply = result.Output.Split('\n').Select(line => line.Trim()).First(line =>
            line.Contains("\"node-name\"", StringComparison.Ordinal));
        var node = JsonNode.Parse(reply)!["return"]!.AsArray().First(entry => (string?)entry!["node-name"] == "q")!;
        return [.. (node["dirty-bitmaps"]?.AsArray() ?? [])
            .Select(bitmap => $"{bitmap!["name"]} {bitmap["count"]} {bitmap["granularity"]}"
                + ((bool)bitmap["recording"]! ? " recording" : "")
                + (bitmap["inconsistent"] is { } flag && (bool)flag ? " inconsistent" : ""))
            .Order(StringComparer.Ordinal)];
    }

    private static async Task KillQemuAsync(string path)
    {
        using var process = Process.Start(new ProcessStartInfo("qemu-storage-daemon")
        {
            ArgumentList =
            {
                "--blockdev", $"driver=file,filename={path},node-name=f", "--blockdev",
                    "driver=qcow2,file=f,node-name=q",
                "--chardev", "stdio,id=c", "--monitor", "chardev=c",
            },
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        })!;

        // The greeting comes when the image is open.
        await process.StandardOutput.ReadLineAsync(Token);
        process.Kill();
        await process.WaitForExitAsync(Token);
    }
}
