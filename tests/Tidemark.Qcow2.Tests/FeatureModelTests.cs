using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Checking;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Qcow2.Tests;

/// <summary>Every kind of image against a byte array: writes, zeroes, discards, resizes, compressed writes and
/// reopening at random points; the check stays clean and the mapping says what is read.</summary>
public sealed class FeatureModelTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public static TheoryData<int> Variants => [.. Enumerable.Range(0, ImageVariant.All.Length)];

    [Theory]
    [MemberData(nameof(Variants))]
    public Task BehavesAsAByteArray(int variant) =>
        TestSeed.RunAsync(random => RunAsync(random, ImageVariant.All[variant]));

    private static async Task RunAsync(Random random, ImageVariant variant)
    {
        for (var round = 0; round < 4; round++)
        {
            var length = 512 * (1 + random.Next(600));
            RecordingFile file = new() { IgnoresDiscards = random.Next(2) == 0, IsAsynchronous = random.Next(2) == 0 };
            var data = variant.DataFile ? new RecordingFile(name: "data") : null;
            await Qcow2Image.CreateAsync(file, variant.Options(length, data), Token);
            Model model = new(new byte[length]);
            for (var session = 0; session < 4; session++)
            {
                await using (var node = await Qcow2Node.OpenAsync("a", file, variant.Open(data), Token))
                {
                    Assert.Equal(model.Bytes.Length, node.Length);
                    for (var step = 0; step < 25; step++)
                    {
                        await StepAsync(node, model, random, variant);
                        await CompareAsync(node, model, random);
                    }
                }

                var report = await Qcow2Check.RunAsync(file, new Qcow2CheckOptions { DataFile = data }, Token);
                Assert.True(report.IsClean, string.Join("; ", report.Messages));
                if (variant.Raw)
                {
                    Assert.Equal(model.Bytes, data!.Content);
                }
            }
        }
    }

    private static async Task StepAsync(Qcow2Node node, Model model, Random random, ImageVariant variant)
    {
        var bytes = model.Bytes;
        var offset = random.Next(bytes.Length);
        var length = 1 + random.Next(Math.Min(bytes.Length - offset, random.Next(2) == 0 ? 3000 : 60_000));
        switch (random.Next(9))
        {
            case 0:
                await node.WriteZeroesAsync(offset, length, WriteFlags.MayUnmap, Token);
                bytes.AsSpan(offset, length).Clear();
                break;
            case 1:
                await node.WriteZeroesAsync(offset, length, WriteFlags.None, Token);
                bytes.AsSpan(offset, length).Clear();
                break;
            case 2:
                await node.DiscardAsync(offset, length, Token);
                await node.ReadAsync(offset, bytes.AsMemory(offset, length), Token);
                break;
            case 3:
                await node.FlushAsync(Token);
                break;
            case 4 when random.Next(3) == 0:
                var size = 512 * (1 + random.Next(600));
                await node.ResizeDiskAsync(size, (Qcow2Preallocation)random.Next(4), Token);
                Array.Resize(ref bytes, size);
                model.Bytes = bytes;
                break;
            case 6 when random.Next(3) == 0:
                await node.SetReadOnlyAsync(true, Token);
                await Assert.ThrowsAsync<BlockException>(
                    () => node.WriteAsync(offset, new byte[length], WriteFlags.None, Token).AsTask());
                await CompareAsync(node, model, random);
                await node.SetReadOnlyAsync(false, Token);
                break;
            case 5 when !variant.DataFile:
                await WriteCompressedAsync(node, bytes, offset, random);
                break;
            default:
                var data = new byte[length];
                random.NextBytes(data);
                await node.WriteAsync(offset, data, WriteFlags.None, Token);
                data.CopyTo(bytes, offset);
                break;
        }
    }

    private static async Task WriteCompressedAsync(Qcow2Node node, byte[] bytes, int offset, Random random)
    {
        var start = offset / node.ClusterSize * node.ClusterSize;
        var data = new byte[Math.Min(bytes.Length - start, node.ClusterSize * (1 + random.Next(4)))];
        for (var at = 0; at < data.Length; at += node.ClusterSize)
        {
            // Compressible, zero, or noise, which is stored as it is.
            var part = data.AsSpan(at, Math.Min(node.ClusterSize, data.Length - at));
            if (random.Next(3) is var kind && kind == 0)
            {
                random.NextBytes(part);
            }
            else if (kind == 1)
            {
                part.Fill((byte)random.Next(256));
            }
        }

        await node.WriteCompressedAsync(start, data, Token);
        data.CopyTo(bytes, start);
    }

    private static async Task CompareAsync(Qcow2Node node, Model model, Random random)
    {
        var offset = random.Next(model.Bytes.Length);
        var length = 1 + random.Next(model.Bytes.Length - offset);
        var read = new byte[length];
        await node.ReadAsync(offset, read, Token);
        Assert.True(model.Bytes.AsSpan(offset, length).SequenceEqual(read), $"bytes {offset}+{length} differ");
        ExtentList extents = new();
        await node.GetBlockStatusAsync(offset, length, extents, Token);
        Assert.Equal(length, extents.Length);
        foreach (var extent in extents.Where(extent => extent.IsZero))
        {
            Assert.False(
                model.Bytes.AsSpan((int)extent.Offset, (int)extent.Length).ContainsAnyExcept((byte)0),
                $"{extent} is not zero");
        }

        List<MappedExtent> mapped = [];
        Assert.Equal(length, await node.MapAsync(offset, length, mapped, cancellationToken: Token));
        Assert.Equal(length, mapped.Sum(extent => extent.Length));
    }

    [Fact]
    public async Task GrowingShowsZeroesAlsoOverALongerBackingFile()
    {
        foreach (var version in (int[])[2, 3])
        {
            var content = Enumerable.Repeat((byte)7, 400_000).ToArray();
            await using MemoryNode backing = new("base", content);
            RecordingFile file = new();
            await Qcow2Image.CreateAsync(
                file,
                new Qcow2CreateOptions
                {
                    Length = 100_352, Version = version, ClusterSize = 4096, BackingFile = "b", BackingFormat = "raw",
                },
                Token);
            await using var node = await Qcow2Node.OpenAsync(
                "a", file, new Qcow2OpenOptions { Backing = backing }, Token);
            await node.ResizeDiskAsync(300_032, cancellationToken: Token);
            var read = new byte[300_032];
            await node.ReadAsync(0, read, Token);
            Assert.False(read.AsSpan(0, 100_352).ContainsAnyExcept((byte)7));
            Assert.False(read.AsSpan(100_352).ContainsAnyExcept((byte)0));
        }
    }

    [Fact]
    public async Task BitmapsFollowTheSizeOfTheDisk()
    {
        RecordingFile file = new();
        await Qcow2Image.CreateAsync(file, new Qcow2CreateOptions { Length = 1 << 20 }, Token);
        await using (var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token))
        {
            node.Bitmaps.Add(new DirtyBitmap("b", node.Length, 512) { IsPersistent = true });
            await node.WriteAsync(1000, new byte[1], cancellationToken: Token);
            await node.WriteAsync(900_000, new byte[1], cancellationToken: Token);
            await node.ResizeDiskAsync(512 * 1024, cancellationToken: Token);
            await node.ResizeDiskAsync(2 << 20, cancellationToken: Token);
            await node.WriteAsync(1_900_000, new byte[1], cancellationToken: Token);
        }

        await using var again = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions { ReadOnly = true }, Token);
        var bitmap = Assert.Single(again.Bitmaps);
        Assert.False(bitmap.IsInconsistent);
        Assert.Equal(2, bitmap.DirtyGranules);
        Assert.True(bitmap.Get(1000) && bitmap.Get(1_900_000));
    }

    [Fact]
    public async Task ANewBitmapIsKnownAfterAFlushAndACrash()
    {
        RecordingFile file = new();
        await Qcow2Image.CreateAsync(file, new Qcow2CreateOptions { Length = 1 << 20 }, Token);
        var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token);
        node.Bitmaps.Add(new DirtyBitmap("b", node.Length, 512) { IsPersistent = true });
        await node.FlushAsync(Token);
        await node.WriteAsync(0, new byte[512], cancellationToken: Token);
        await node.FlushAsync(Token);
        RecordingFile crashed = new(file.Content);
        Assert.True(Assert.Single(await Qcow2Image.ReadBitmapsAsync(crashed, Token)).IsInUse);
        await node.DisposeAsync();
        Assert.False(Assert.Single(await Qcow2Image.ReadBitmapsAsync(file, Token)).IsInUse);
        Assert.True((await Qcow2Check.RunAsync(file, Token)).IsClean);
    }

    [Fact]
    public async Task ACommittedImageIsEmptyAndTakesAnotherBacking()
    {
        RecordingFile file = new();
        await using MemoryNode backing = new("base", Enumerable.Repeat((byte)7, 1 << 20).ToArray());
        await Qcow2Image.CreateAsync(
            file, new Qcow2CreateOptions { Length = 1 << 20, BackingFile = "b", BackingFormat = "raw" }, Token);
        await using (var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions { Backing = backing }, Token))
        {
            await node.WriteAsync(100_000, new byte[300_000], cancellationToken: Token);
            await node.MakeEmptyAsync(cancellationToken: Token);
            var read = new byte[1 << 20];
            await node.ReadAsync(0, read, Token);
            Assert.False(read.AsSpan().ContainsAnyExcept((byte)7));
            await node.ChangeBackingFileAsync(new string('x', 900), "qcow2", Token);
        }

        Assert.True((await Qcow2Check.RunAsync(file, Token)).IsClean);
        var header = await Qcow2Image.ReadHeaderAsync(file, Token);
        Assert.Equal((new string('x', 900), "qcow2"), (header.BackingFile, header.BackingFormat));
        await using (var node = await Qcow2Node.OpenAsync(
            "a", file, new Qcow2OpenOptions { WithoutBacking = true }, Token))
        {
            await node.ChangeBackingFileAsync(null, null, Token);
        }

        Assert.Null((await Qcow2Image.ReadHeaderAsync(file, Token)).BackingFile);
    }

    private sealed class Model(byte[] bytes)
    {
        internal byte[] Bytes { get; set; } = bytes;
    }
}
