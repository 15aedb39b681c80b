using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Files;
using Tidemark.Blocks.Nodes;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Qcow2.Tests;

/// <summary>QEMU's own programs as judges: they read what we write, we read what they write.</summary>
[Trait("Category", "Interop")]
public sealed class InteropTests : IDisposable
{
    private readonly TemporaryDirectory _directory = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _directory.Dispose();

    [Theory]
    [InlineData(512, 16)]
    [InlineData(4096, 1)]
    [InlineData(4096, 4)]
    [InlineData(4096, 32)]
    [InlineData(65536, 16)]
    [InlineData(65536, 64)]
    [InlineData(2097152, 8)]
    public async Task QemuReadsWhatWeWrote(int clusterSize, int refcountBits)
    {
        SkipWithout("qemu-img");
        const int Length = 9_000_448;
        var path = _directory.File("ours.qcow2");
        var expected = new byte[Length];
        await TestSeed.RunAsync(async random =>
        {
            await using (var file = RawFileNode.Create("file", path, 0))
            {
                await Qcow2Image.CreateAsync(
                    file, new Qcow2CreateOptions { Length = Length, ClusterSize = clusterSize,
                        RefcountBits = refcountBits }, Token);
                await using var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token);
                await ChangeAtRandom(node, expected, random, 60);
            }

            var raw = _directory.File("ours.raw");
            await File.WriteAllBytesAsync(raw, expected, Token);
            await Tool.RunOkAsync("qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, path);
            await Tool.RunOkAsync("qemu-img", "check", path);
        });
    }

    [Theory]
    [InlineData("compat=1.1")]
    [InlineData("compat=0.10")]
    [InlineData("cluster_size=512")]
    [InlineData("cluster_size=2M")]
    [InlineData("refcount_bits=2")]
    [InlineData("refcount_bits=4")]
    [InlineData("refcount_bits=32")]
    [InlineData("preallocation=metadata")]
    [InlineData("preallocation=falloc")]
    public async Task WeContinueWhatQemuBegan(string option)
    {
        SkipWithout("qemu-img", "qemu-io");
        var path = _directory.File("theirs.qcow2");
        await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "qcow2", "-o", option, path, "8M");
        await Tool.RunOkAsync(
            "qemu-io", "-f", "qcow2", "-c", "write -P 1 0 1M", "-c", "write -P 2 3000k 70k", "-c", "write -z 512k 200k",
            "-c", "discard 64k 128k", "-c", "write -P 3 8188k 4k", path);
        var expected = await ReadRaw(path);
        await TestSeed.RunAsync(async random =>
        {
            await using (var file = RawFileNode.Open("file", path, readOnly: false))
            {
                await using var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token);
                var read = new byte[node.Length];
                await node.ReadAsync(0, read, Token);
                Assert.Equal(expected, read);
                await ChangeAtRandom(node, expected, random, 60);
            }

            await Tool.RunOkAsync("qemu-img", "check", path);
            Assert.Equal(expected, await ReadRaw(path));
        });
    }

    [Theory]
    [InlineData("zlib", "64k")]
    [InlineData("zlib", "512")]
    [InlineData("zstd", "64k")]
    [InlineData("zstd", "2M")]
    public async Task CompressedClustersAreReadAndReplaced(string type, string clusterSize)
    {
        SkipWithout("qemu-img");
        var path = _directory.File("compressed.qcow2");
        var raw = _directory.File("plain.raw");
        var expected = new byte[5_000_192];
        for (var index = 0; index < expected.Length; index++)
        {
            expected[index] = (byte)(index / 1000 * 31);
        }

        await File.WriteAllBytesAsync(raw, expected, Token);
        await Tool.RunOkAsync(
            "qemu-img", "convert", "-c", "-O", "qcow2", "-o", $"compression_type={type},cluster_size={clusterSize}",
                raw, path);
        await TestSeed.RunAsync(async random =>
        {
            await using (var file = RawFileNode.Open("file", path, readOnly: false))
            {
                await using var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token);
                var read = new byte[node.Length];
                await node.ReadAsync(0, read, Token);
                Assert.Equal(expected, read);
                await ChangeAtRandom(node, expected, random, 40);
            }

            await Tool.RunOkAsync("qemu-img", "check", path);
            Assert.Equal(expected, await ReadRaw(path));
        });
    }

    [Theory]
    [InlineData("65536")]
    [InlineData("512")]
    public async Task InternalSnapshotsAreNotHarmed(string clusterSize)
    {
        SkipWithout("qemu-img", "qemu-io");
        var path = _directory.File("snapshots.qcow2");
        await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "qcow2", "-o", $"cluster_size={clusterSize}", path,
            "8M");
        await Tool.RunOkAsync("qemu-io", "-f", "qcow2", "-c", "write -P 1 0 3M", "-c", "write -z 1M 64k", path);
        var atSnapshot = await ReadRaw(path);
        await Tool.RunOkAsync("qemu-img", "snapshot", "-c", "one", path);
        await Tool.RunOkAsync("qemu-io", "-f", "qcow2", "-c", "write -P 2 2M 2M", path);
        var expected = await ReadRaw(path);
        await TestSeed.RunAsync(async random =>
        {
            await using (var file = RawFileNode.Open("file", path, readOnly: false))
            {
                await using var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token);
                await ChangeAtRandom(node, expected, random, 40);
            }

            await Tool.RunOkAsync("qemu-img", "check", path);
            Assert.Equal(expected, await ReadRaw(path));
            await Tool.RunOkAsync("qemu-img", "snapshot", "-a", "one", path);
            Assert.Equal(atSnapshot, await ReadRaw(path));
        });
    }

    [Fact]
    public async Task OverlaysOverQemusImagesAgree()
    {
        SkipWithout("qemu-img", "qemu-io");
        var path = _directory.File("top.qcow2");
        await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "qcow2", _directory.File("base.qcow2"), "5M");
        await Tool.RunOkAsync("qemu-io", "-f", "qcow2", "-c", "write -P 1 100k 3M", _directory.File("base.qcow2"));
        await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", path, "8M");
        var expected = await ReadRaw(path);
        await TestSeed.RunAsync(async random =>
        {
            await using (var chain = await Qcow2Chain.OpenAsync(
                path, new Qcow2ChainOptions { FollowNames = true }, Token))
            {
                await ChangeAtRandom(chain.Top, expected, random, 40);

                // A bitmap moves the extensions of a header that QEMU laid out: the backing name must survive.
                chain.Top.Bitmaps.Add(new DirtyBitmap("b", chain.Top.Length) { IsPersistent = true });
            }

            await Tool.RunOkAsync("qemu-img", "check", path);
            Assert.Equal(expected, await ReadRaw(path));
            var info = await Tool.RunOkAsync("qemu-img", "info", path);
            Assert.Contains("backing file: base.qcow2", info, StringComparison.Ordinal);
            Assert.Contains("name: b", info, StringComparison.Ordinal);
        });
    }

    private static void SkipWithout(params string[] tools)
    {
        var why = Tool.Missing(tools);
        Assert.SkipWhen(why is not null, why ?? "");
    }

    private async Task<byte[]> ReadRaw(string path)
    {
        var raw = _directory.File("read.raw");
        await Tool.RunOkAsync("qemu-img", "convert", "-O", "raw", path, raw);
        return await File.ReadAllBytesAsync(raw, Token);
    }

    internal static async Task ChangeAtRandom(BlockNode node, byte[] expected, Random random, int steps)
    {
        for (var step = 0; step < steps; step++)
        {
            var offset = random.Next(expected.Length);
            var length = 1 + random.Next(Math.Min(expected.Length - offset, random.Next(3) switch { 0 => 1000, 1 =>
                100_000, _ => 2_000_000 }));
            switch (random.Next(6))
            {
                case 0:
                    await node.WriteZeroesAsync(offset, length, WriteFlags.MayUnmap, Token);
                    expected.AsSpan(offset, length).Clear();
                    break;
                case 1:
                    await node.WriteZeroesAsync(offset, length, WriteFlags.None, Token);
                    expected.AsSpan(offset, length).Clear();
                    break;
                case 2:
                    await node.FlushAsync(Token);
                    break;
                default:
                    var data = new byte[length];
                    random.NextBytes(data);
                    await node.WriteAsync(offset, data, random.Next(10) == 0
                        ? WriteFlags.ForceUnitAccess : WriteFlags.None, Token);
                    data.CopyTo(expected, offset);
                    break;
            }
        }
    }
}
