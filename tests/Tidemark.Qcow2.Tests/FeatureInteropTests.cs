using Tidemark.Blocks.Files;
using Tidemark.Qcow2.Checking;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Qcow2.Tests;

/// <summary>QEMU's own programs as judges of every kind of image: they check and read what we write, we check and
/// continue what they write, in turns.</summary>
[Trait("Category", "Interop")]
public sealed class FeatureInteropTests : IDisposable
{
    private const int Length = 3_000_320;

    private readonly TemporaryDirectory _directory = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public static TheoryData<int> Variants => [.. Enumerable.Range(0, ImageVariant.All.Length)];

    public void Dispose() => _directory.Dispose();

    [Theory]
    [MemberData(nameof(Variants))]
    public async Task QemuReadsEveryKindOfImage(int index)
    {
        SkipWithoutQemu();
        var variant = ImageVariant.All[index];
        var path = _directory.File("image.qcow2");
        var expected = new byte[Length];
        await TestSeed.RunAsync(async random =>
        {
            foreach (var file in Directory.GetFiles(_directory.Path))
            {
                File.Delete(file);
            }

            await using (var file = RawFileNode.Create("file", path, 0))
            await using (var data = variant.DataFile ? RawFileNode.Create("data", DataPath, 0) : null)
            {
                var options = variant.Options(Length, data) with { DataFile = data is null ? null : DataPath };
                await Qcow2Image.CreateAsync(file, options, Token);
                await using var node = await Qcow2Node.OpenAsync("a", file, variant.Open(data), Token);
                await ChangeAsync(node, expected, random, variant);
            }

            await JudgeAsync(path, expected);
        });
    }

    [Theory]
    [InlineData("cluster_size=512,lazy_refcounts=on", false, 0)]
    [InlineData("extended_l2=on,cluster_size=16k", false, 0)]
    [InlineData("extended_l2=on,cluster_size=128k,preallocation=metadata", false, 0)]
    [InlineData("compat=0.10,cluster_size=4k", false, 0)]
    [InlineData("data_file=DATA", true, 0)]
    [InlineData("data_file=DATA,data_file_raw=on", true, 0)]
    [InlineData("data_file=DATA,extended_l2=on", true, 0)]
    [InlineData("compression_type=zstd", false, 1)]
    [InlineData("preallocation=full,refcount_bits=1", false, 0)]
    public async Task WeContinueEveryKindOfImageInTurns(string options, bool hasDataFile, int compressionType)
    {
        SkipWithoutQemu();
        var path = _directory.File("image.qcow2");
        await TestSeed.RunAsync(async random =>
        {
            await Tool.RunOkAsync(
                "qemu-img", "create", "-q", "-f", "qcow2", "-o",
                options.Replace("DATA", DataPath, StringComparison.Ordinal), path, $"{Length}");
            ImageVariant variant = new("theirs") { DataFile = hasDataFile, Zstd = compressionType == 1 };
            for (var turn = 0; turn < 3; turn++)
            {
                await Tool.RunOkAsync(
                    "qemu-io", "-f", "qcow2", "-c", $"write -P {turn + 1} {random.Next(1000)}k 700k",
                    "-c", $"write -z -u {random.Next(1000)}k 200k", "-c", $"discard {random.Next(1000)}k 300k",
                    "-c", $"write -P 77 {random.Next(2_000_000) / 512 * 512} 3584", path);
                var expected = await ReadRawAsync(path);
                await using (var file = RawFileNode.Open("file", path, readOnly: false))
                await using (var data = hasDataFile ? RawFileNode.Open("data", DataPath, readOnly: false) : null)
                {
                    var report = await Qcow2Check.RunAsync(
                        file, new Qcow2CheckOptions { DataFile = data }, Token);
                    Assert.True(report.IsClean, string.Join("; ", report.Messages));
                    await using var node = await Qcow2Node.OpenAsync("a", file, variant.Open(data), Token);
                    var read = new byte[Length];
                    await node.ReadAsync(0, read, Token);
                    Assert.Equal(expected, read);
                    await ChangeAsync(node, expected, random, variant);
                }

                await JudgeAsync(path, expected);
            }
        });
    }

    [Theory]
    [InlineData("64k", "off", 0)]
    [InlineData("4k", "metadata", 1)]
    [InlineData("64k", "full", 2)]
    public async Task ResizesAgreeWithQemus(string clusterSize, string preallocation, int seed)
    {
        SkipWithoutQemu();
        var random = new Random(seed);
        var path = _directory.File("image.qcow2");
        await Tool.RunOkAsync(
            "qemu-img", "create", "-q", "-f", "qcow2", "-o", $"cluster_size={clusterSize}", path, $"{Length}");
        for (var turn = 0; turn < 4; turn++)
        {
            await Tool.RunOkAsync("qemu-io", "-f", "qcow2", "-c", $"write -P {turn + 1} 0 300k", path);
            var size = 512 * (1000 + random.Next(9000));
            var expected = await ReadRawAsync(path);
            Array.Resize(ref expected, size);
            await using (var file = RawFileNode.Open("file", path, readOnly: false))
            {
                await using var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token);
                await node.ResizeDiskAsync(size, Enum.Parse<Qcow2Preallocation>(preallocation, true), Token);
                await node.WriteAsync(size - 512, new byte[512], cancellationToken: Token);
            }

            await JudgeAsync(path, expected);
            var theirs = 512 * (1000 + random.Next(9000));
            await Tool.RunOkAsync("qemu-img", "resize", "-q", "-f", "qcow2", "--shrink", path, $"{theirs}");
        }
    }

    [Fact]
    public async Task WhatACrashLeavesOfLazyRefcountsIsRepairedByBoth()
    {
        SkipWithoutQemu();
        foreach (var repairer in (string[])["qemu", "ours"])
        {
            RecordingFile file = new();
            await Qcow2Image.CreateAsync(
                file, new Qcow2CreateOptions { Length = Length, LazyRefcounts = true, ClusterSize = 512 }, Token);
            var expected = new byte[Length];
            await TestSeed.RunAsync(async random =>
            {
                var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions { GrowthStep = 8192 }, Token);
                await node.WriteAsync(0, expected, cancellationToken: Token);
                random.NextBytes(expected.AsSpan(0, 1_000_000));
                await node.WriteAsync(0, expected.AsMemory(0, 1_000_000), cancellationToken: Token);
                await node.FlushAsync(Token);
            });
            var path = _directory.File($"{repairer}.qcow2");
            await File.WriteAllBytesAsync(path, file.Content, Token);
            if (repairer == "qemu")
            {
                await Tool.RunOkAsync("qemu-img", "check", "-q", "-r", "all", path);
            }
            else
            {
                await using var image = RawFileNode.Open("file", path, readOnly: false);
                await using var node = await Qcow2Node.OpenAsync("a", image, new Qcow2OpenOptions(), Token);
            }

            await JudgeAsync(path, expected);
        }
    }

    private string DataPath => _directory.File("data.raw");

    private async Task JudgeAsync(string path, byte[] expected)
    {
        await Tool.RunOkAsync("qemu-img", "check", "-f", "qcow2", path);
        var read = await ReadRawAsync(path);
        Assert.True(expected.AsSpan().SequenceEqual(read), "QEMU reads something else");
    }

    private async Task<byte[]> ReadRawAsync(string path)
    {
        var raw = _directory.File("read.raw");
        await Tool.RunOkAsync("qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, raw);
        return await File.ReadAllBytesAsync(raw, Token);
    }

    private static async Task ChangeAsync(Qcow2Node node, byte[] expected, Random random, ImageVariant variant)
    {
        await InteropTests.ChangeAtRandom(node, expected, random, 30);
        for (var step = 0; step < 8 && !variant.DataFile; step++)
        {
            // Text of few letters: it compresses, and reaches back as far as the window lets it.
            var first = random.Next(expected.Length / node.ClusterSize);
            var start = first * node.ClusterSize;
            var data = new byte[Math.Min(expected.Length - start, node.ClusterSize * (1 + random.Next(5)))];
            for (var at = 0; at < data.Length; at++)
            {
                data[at] = (byte)(at % 7000 < 3000 ? at % 7000 / 13 : random.Next(4));
            }

            await node.WriteCompressedAsync(start, data, Token);
            data.CopyTo(expected, start);
        }
    }

    private static void SkipWithoutQemu()
    {
        var why = Tool.Missing("qemu-img", "qemu-io");
        Assert.SkipWhen(why is not null, why ?? "");
    }
}
