using System.Text.Json;
using Tidemark.Testing;

namespace Tidemark.Cli.Tests.Nbd;

/// <summary><c>nbd copy</c>: between files and exports, ours and the peers'.</summary>
public sealed class NbdCopyCommandTests : IDisposable
{
    private const int MiB = 1 << 20;
    private const int Length = 8 * MiB;

    private readonly TemporaryDirectory _folder = new();

    private string Socket => _folder.File("nbd.sock");

    private string PeerUri => $"nbd+unix:///?socket={_folder.File("peer.sock")}";

    public void Dispose() => _folder.Dispose();

    // Data in two places, written zeroes in a third, holes elsewhere; an odd length.
    private string Sparse(Random random, int length = Length + 512)
    {
        var path = _folder.File("sparse.raw");
        using var file = File.OpenHandle(path, FileMode.Create, FileAccess.Write);
        RandomAccess.SetLength(file, length);
        var bytes = new byte[MiB];
        random.NextBytes(bytes);
        RandomAccess.Write(file, bytes, MiB + 4096);
        RandomAccess.Write(file, bytes.AsSpan(0, 8192), 5 * MiB);
        RandomAccess.Write(file, new byte[MiB], 6 * MiB);
        RandomAccess.Write(file, bytes.AsSpan(0, 600), length - 600);
        return path;
    }

    [Fact]
    public async Task A_disk_goes_through_exports_and_files_unchanged_and_holes_stay_holes()
    {
        await TestSeed.RunAsync(async random =>
        {
            var source = Sparse(random);
            var served = _folder.File("served.raw");
            await File.WriteAllBytesAsync(served, RandomBytes(random, Length + 512));
            await using (var serving = await NbdServing.StartAsync(served, "-f", "raw", "-k", Socket))
            {
                var report = await CopyAsync(source, serving.Uri, "--flush", "--connections", "2");
                Assert.Equal(Length + 512, report.GetProperty("size").GetInt64());
                Assert.Equal(2, report.GetProperty("destination-connections").GetInt32());
                Assert.InRange(report.GetProperty("written").GetInt64(), MiB, 2 * MiB);
                await CopyAsync(serving.Uri, _folder.File("copy.raw"), "--request-size", "64K", "--requests", "3");
            }

            var bytes = await File.ReadAllBytesAsync(source);
            Assert.Equal(bytes, await File.ReadAllBytesAsync(served));
            Assert.Equal(bytes, await File.ReadAllBytesAsync(_folder.File("copy.raw")));
            await CopyAsync(source, _folder.File("again.raw"));
            Assert.Equal(bytes, await File.ReadAllBytesAsync(_folder.File("again.raw")));

            // The zeroes that were written in the source are holes in the copy too.
            foreach (var copy in new[] { "copy.raw", "again.raw", "served.raw" })
            {
                Assert.InRange(await AllocatedAsync(_folder.File(copy)), MiB, 3 * MiB);
            }

            await CopyAsync(source, _folder.File("full.raw"), "--allocated");
            Assert.Equal(bytes, await File.ReadAllBytesAsync(_folder.File("full.raw")));
            Assert.InRange(await AllocatedAsync(_folder.File("full.raw")), Length, 2 * Length);
        });
    }

    [Fact]
    public async Task Reading_only_reports_what_was_read()
    {
        var source = Sparse(new Random(5));
        var report = await CopyAsync(source, "null:");
        Assert.Equal(Length + 512, report.GetProperty("selected").GetInt64());
        Assert.Equal(0, report.GetProperty("written").GetInt64());
        Assert.InRange(report.GetProperty("read").GetInt64(), 2 * MiB, 3 * MiB);
    }

    [Fact]
    public async Task What_cannot_be_done_is_refused_and_leaves_the_target_alone()
    {
        var source = Sparse(new Random(6));
        var small = _folder.File("small.raw");
        File.WriteAllBytes(small, new byte[MiB]);
        await using (var serving = await NbdServing.StartAsync(small, "-f", "raw", "-k", Socket))
        {
            Assert.Contains("bytes", await FailAsync(source, serving.Uri), StringComparison.Ordinal);

            // An image that a server has open is neither emptied nor written.
            await FailAsync(source, small);
            Assert.Equal(MiB, new FileInfo(small).Length);
            Assert.Contains("b0", await FailAsync(serving.Uri, source, "--bitmap", "b0"), StringComparison.Ordinal);
        }

        await FailAsync(_folder.File("nothing.raw"), _folder.File("made.raw"));
        await FailAsync(source, _folder.File("made.raw"), "--bitmap", "b0");
        await FailAsync("null:", _folder.File("made.raw"));
        await FailAsync(source, _folder.File("made.raw"), "--request-size", "5000");
        await FailAsync(source, _folder.File("made.raw"), "--requests", "0");
        Assert.False(File.Exists(_folder.File("made.raw")));
        Assert.Equal(Length + 512, new FileInfo(source).Length);
    }

    [Fact]
    [Trait("Category", "Interop")]
    public async Task Between_the_peers_servers_it_copies_what_nbdcopy_copies()
    {
        Require("qemu-nbd", "qemu-img", "qemu-io", "nbdkit", "nbdcopy");
        await TestSeed.RunAsync(async random =>
        {
            var image = await NbdDisk.CreateRandomAsync(_folder, random);
            File.Delete(_folder.File("peer.sock"));
            File.Delete(Socket);
            using var source = await NbdPeer.StartAsync(
                _folder.File("peer.sock"), "qemu-nbd", "-k", _folder.File("peer.sock"), "-r", "-t", "-f", "qcow2", "-e",
                "8", image);
            using var target = await NbdPeer.StartAsync(
                Socket, "nbdkit", "--foreground", "-U", Socket, "memory", "32M");
            var targetUri = $"nbd+unix:///?socket={Socket}";
            await Tool.RunOkAsync("nbdcopy", PeerUri, _folder.File("theirs.raw"));

            var noise = _folder.File("noise.raw");
            await File.WriteAllBytesAsync(noise, RandomBytes(random, 32 * MiB));
            await CopyAsync(noise, targetUri);
            await CopyAsync(PeerUri, targetUri, "--connections", "4", "--requests", "16");
            await Tool.RunOkAsync("nbdcopy", targetUri, _folder.File("ours.raw"));
            AssertSame("theirs.raw", "ours.raw");

            await CopyAsync(PeerUri, _folder.File("ours.raw"), "--progress");
            AssertSame("theirs.raw", "ours.raw");
        });
    }

    // Four reads one after the other, each longer than a line is shown for.
    [Fact]
    [Trait("Category", "Interop")]
    public async Task Progress_is_shown_while_it_copies()
    {
        Require("nbdkit");
        using var source = await NbdPeer.StartAsync(
            Socket, "nbdkit", "--foreground", "-U", Socket, "--filter=delay", "pattern", "1M", "rdelay=250ms");
        using var console = new TestConsole(isTerminal: true);
        Assert.Equal(ExitCode.Success, await console.RunAsync(
            [
                "nbd", "copy", $"nbd+unix:///?socket={Socket}", _folder.File("disk.raw"), "--progress",
                "--connections", "1", "--requests", "1",
            ]));
        Assert.Contains("copying", console.Error, StringComparison.Ordinal);
        Assert.Contains("256 KiB", console.Error, StringComparison.Ordinal);
    }

    [Fact]
    [Trait("Category", "Interop")]
    public async Task A_bitmap_copies_every_dirty_byte_and_nothing_else()
    {
        Require("qemu-nbd", "qemu-img", "qemu-io", "nbdcopy");
        await TestSeed.RunAsync(async random =>
        {
            // The target holds the disk as it was when the bitmap began: the two images below the top. Where the bitmap
            // is clean, a mark on the target shows whether anything was written there.
            var image = await NbdDisk.CreateRandomAsync(_folder, random);
            File.Delete(_folder.File("peer.sock"));
            using var source = await NbdPeer.StartAsync(
                _folder.File("peer.sock"), "qemu-nbd", "-k", _folder.File("peer.sock"), "-r", "-t", "-f", "qcow2", "-B",
                "b0", image);
            var target = _folder.File("target.raw");
            await Tool.RunOkAsync("qemu-img", "convert", "-f", "qcow2", "-O", "raw", _folder.File("r1.qcow2"), target);
            var before = await File.ReadAllBytesAsync(target);
            using var map = JsonDocument.Parse(
                await Tool.RunOkAsync("nbdinfo", "--json", "--map=qemu:dirty-bitmap:b0", PeerUri));
            var clean = map.RootElement.EnumerateArray().Where(e => e.GetProperty("type").GetInt32() == 0)
                .Select(e => (int)e.GetProperty("offset").GetInt64()).ToList();
            using (var file = File.OpenHandle(target, FileMode.Open, FileAccess.Write))
            {
                clean.ForEach(offset => RandomAccess.Write(file, "mark"u8, offset));
            }

            var report = await CopyAsync(PeerUri, target, "--bitmap", "b0");
            Assert.InRange(report.GetProperty("selected").GetInt64(), 65536, 32 * MiB);
            await Tool.RunOkAsync("nbdcopy", PeerUri, _folder.File("whole.raw"));
            var expected = await File.ReadAllBytesAsync(_folder.File("whole.raw"));
            clean.ForEach(offset => "mark"u8.CopyTo(expected.AsSpan(offset)));
            Assert.Equal(expected, await File.ReadAllBytesAsync(target));
            Assert.NotEqual(before, expected);
        });
    }

    [Fact]
    [Trait("Category", "Interop")]
    public async Task A_target_with_large_blocks_gets_every_byte()
    {
        Require("nbdkit", "nbdcopy");
        var source = Sparse(new Random(7), Length);
        using var target = await NbdPeer.StartAsync(
            Socket, "nbdkit", "--foreground", "-U", Socket, "--filter=blocksize-policy", "memory", "8M",
            "blocksize-minimum=64K", "blocksize-preferred=64K", "blocksize-maximum=1M", "blocksize-error-policy=error");
        await CopyAsync(source, $"nbd+unix:///?socket={Socket}");
        await CopyAsync($"nbd+unix:///?socket={Socket}", _folder.File("back.raw"), "--request-size", "4M");
        AssertSame("sparse.raw", "back.raw");
    }

    [Fact]
    [Trait("Category", "Interop")]
    public async Task A_read_error_fails_the_copy_and_removes_what_it_made()
    {
        Require("nbdkit");
        using var source = await NbdPeer.StartAsync(
            _folder.File("peer.sock"), "nbdkit", "--foreground", "-U", _folder.File("peer.sock"), "--filter=error",
            "pattern", "64M", "error-pread=EIO", "error-pread-rate=0.2");
        Assert.Contains("EIO", await FailAsync(PeerUri, _folder.File("made.raw")), StringComparison.Ordinal);
        Assert.False(File.Exists(_folder.File("made.raw")));

        // What was there before cannot be brought back: that it is no copy is told.
        var kept = _folder.File("kept.raw");
        File.WriteAllBytes(kept, [1]);
        var error = await FailAsync(PeerUri, kept);
        Assert.Contains("EIO", error, StringComparison.Ordinal);
        Assert.Contains("not complete", error, StringComparison.Ordinal);
        Assert.Contains(kept, error, StringComparison.Ordinal);
        Assert.True(File.Exists(kept));
    }

    private static void Require(params string[] programs)
    {
        var missing = Tool.Missing(programs);
        Assert.SkipWhen(missing is not null, missing ?? "");
    }

    private static byte[] RandomBytes(Random random, int length)
    {
        var bytes = new byte[length];
        random.NextBytes(bytes);
        return bytes;
    }

    private void AssertSame(string first, string second) => Assert.True(
        File.ReadAllBytes(_folder.File(first)).AsSpan().SequenceEqual(File.ReadAllBytes(_folder.File(second))),
        $"{first} and {second} differ");

    private static async Task<long> AllocatedAsync(string path) => long.Parse(
        (await Tool.RunOkAsync("stat", "-c", "%b", path)).Trim(),
        System.Globalization.CultureInfo.InvariantCulture) * 512;

    private static async Task<JsonElement> CopyAsync(params string[] arguments)
    {
        using var console = new TestConsole();
        var code = await console.RunAsync(["nbd", "copy", "--json", .. arguments]);
        Assert.True(code == ExitCode.Success, console.Error);
        return JsonDocument.Parse(console.Output).RootElement.Clone();
    }

    private static async Task<string> FailAsync(params string[] arguments)
    {
        using var console = new TestConsole();
        Assert.NotEqual(ExitCode.Success, await console.RunAsync(["nbd", "copy", .. arguments]));
        Assert.Empty(console.Output);
        return console.Error;
    }
}
