using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Checking;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Qcow2.Tests;

/// <summary>Random operations against a byte array and a set of dirty granules, with reopening at random
/// points.</summary>
public sealed class ModelTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(512, 16, 0, false)]
    [InlineData(512, 1, 150_000, true)]
    [InlineData(4096, 2, 0, true)]
    [InlineData(4096, 16, 500_000, false)]
    [InlineData(65536, 16, 0, false)]
    [InlineData(65536, 64, 300_001, true)]
    public Task BehavesAsAByteArray(int clusterSize, int refcountBits, int backingLength, bool asynchronous) =>
        TestSeed.RunAsync(random => RunModelAsync(random, clusterSize, refcountBits, backingLength, asynchronous));

    [Fact]
    public Task ParallelWritersOfTheSameClustersLoseNothing() => TestSeed.RunAsync(WriteInParallelAsync);

    [Fact]
    public Task AFullFileLosesNothingAndRecovers() => TestSeed.RunAsync(FillTheFileAsync);

    private static async Task WriteInParallelAsync(Random random)
    {
        const int Writers = 8, Length = 1_000_000;
        RecordingFile file = new() { IsAsynchronous = true };
        await Qcow2Image.CreateAsync(file, Options(Length, 4096, 16, null), Token);
        await using var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions { GrowthStep = 65536 }, Token);
        var expected = new byte[Length];
        var seeds = Enumerable.Range(0, Writers).Select(_ => random.Next()).ToArray();

        // Writer w owns every byte whose 1000-byte block is w modulo 8: neighbours share clusters, not bytes.
        await Task.WhenAll(Enumerable.Range(0, Writers).Select(writer => Task.Run(async () =>
        {
            Random own = new(seeds[writer]);
            for (var step = 0; step < 400; step++)
            {
                var offset = ((own.Next(Length / 1000 / Writers) * Writers) + writer) * 1000;
                var data = new byte[1000];
                switch (own.Next(8))
                {
                    case 0:
                        await node.WriteZeroesAsync(offset, data.Length, WriteFlags.MayUnmap, Token);
                        break;
                    case 1:
                        await node.FlushAsync(Token);
                        continue;
                    default:
                        own.NextBytes(data);
                        await node.WriteAsync(offset, data, WriteFlags.None, Token);
                        break;
                }

                data.CopyTo(expected, offset);
                var read = new byte[data.Length];
                await node.ReadAsync(offset, read, Token);
                Assert.Equal(data, read);
            }
        })));
        var all = new byte[Length];
        await node.ReadAsync(0, all, Token);
        Assert.Equal(expected, all);
        await node.DisposeAsync();
        Assert.True((await Qcow2Check.RunAsync(file, Token)).IsClean);
    }

    private static async Task FillTheFileAsync(Random random)
    {
        const int Length = 300_000;
        var expected = new byte[Length];
        RecordingFile file = new();
        await Qcow2Image.CreateAsync(file, Options(Length, 4096, 16, null), Token);
        var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions { GrowthStep = 65536 }, Token);
        for (var step = 0; step < 60; step++)
        {
            var offset = random.Next(Length / 512) * 512;
            var data = new byte[Math.Min(Length - offset, 512 * (1 + random.Next(40)))];
            random.NextBytes(data);
            file.FailWriteIn = random.Next(4);
            try
            {
                await node.WriteAsync(offset, data, WriteFlags.None, Token);
                data.CopyTo(expected, offset);
                await node.FlushAsync(Token);
            }
            catch (BlockException exception) when (exception.Kind == BlockErrorKind.NoSpace)
            {
                // A failed write may have changed any part of its range: read what it is now, it must stay so.
                file.FailWriteIn = -1;
                await node.ReadAsync(offset, expected.AsMemory(offset, data.Length), Token);
            }

            file.FailWriteIn = -1;
        }

        await node.DisposeAsync();
        Assert.Equal(0, (await Qcow2Check.RunAsync(file, Token)).Corruptions);
        await using var again = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token);
        var all = new byte[Length];
        await again.ReadAsync(0, all, Token);
        Assert.Equal(expected, all);
    }

    private static async Task RunModelAsync(
        Random random, int clusterSize, int refcountBits, int backingLength, bool asynchronous)
    {
        const int Length = 400_000, Steps = 200;
        var expected = new byte[Length];
        var backing = MakeBacking(random, backingLength, expected);
        var dirty = new bool[(Length + 511) / 512];
        RecordingFile file = new() { IsAsynchronous = asynchronous };
        await Qcow2Image.CreateAsync(file, Options(Length, clusterSize, refcountBits, backing), Token);
        Qcow2OpenOptions open = new() { Backing = backing, GrowthStep = clusterSize, MetadataCacheLimit = 1 };
        var node = await Qcow2Node.OpenAsync("a", file, open, Token);
        node.Bitmaps.Add(new DirtyBitmap("b", Length, 512) { IsPersistent = true });
        for (var step = 0; step < Steps; step++)
        {
            if (random.Next(25) == 0)
            {
                await node.DisposeAsync();
                var report = await Qcow2Check.RunAsync(file, Token);
                Assert.True(report.IsClean, string.Join("; ", report.Messages));
                node = await Qcow2Node.OpenAsync("a", file, open, Token);
            }
            else
            {
                await StepAsync(node, expected, dirty, random);
            }

            await CompareAsync(node, expected, dirty, random);
        }

        await node.DisposeAsync();
    }

    private static Qcow2CreateOptions Options(int length, int clusterSize, int refcountBits, BlockNode? backing) =>
        new()
    {
        Length = length,
        ClusterSize = clusterSize,
        RefcountBits = refcountBits,
        BackingFile = backing is null ? null : "base.raw",
        BackingFormat = backing is null ? null : "raw",
    };

    private static MemoryNode? MakeBacking(Random random, int length, byte[] expected)
    {
        if (length == 0)
        {
            return null;
        }

        var content = new byte[length];
        random.NextBytes(content.AsSpan(0, length / 2));
        content.AsSpan(0, Math.Min(length, expected.Length)).CopyTo(expected);
        return new MemoryNode("base", content);
    }

    private static async Task StepAsync(Qcow2Node node, byte[] expected, bool[] dirty, Random random)
    {
        var offset = random.Next(expected.Length);
        var length = 1 + random.Next(Math.Min(expected.Length - offset, random.Next(2) == 0 ? 3000 : 150_000));
        switch (random.Next(7))
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
                // Undefined afterwards: take what is there now.
                await node.DiscardAsync(offset, length, Token);
                await node.ReadAsync(offset, expected.AsMemory(offset, length), Token);
                break;
            case 3:
                await node.FlushAsync(Token);
                return;
            default:
                var data = new byte[length];
                random.NextBytes(data);
                await node.WriteAsync(offset, data, random.Next(9) == 0
                    ? WriteFlags.ForceUnitAccess : WriteFlags.None, Token);
                data.CopyTo(expected, offset);
                break;
        }

        dirty.AsSpan(offset / 512, ((offset + length - 1) / 512) - (offset / 512) + 1).Fill(true);
    }

    private static async Task CompareAsync(Qcow2Node node, byte[] expected, bool[] dirty, Random random)
    {
        var offset = random.Next(expected.Length);
        var length = 1 + random.Next(expected.Length - offset);
        var read = new byte[length];
        await node.ReadAsync(offset, read, Token);
        Assert.True(expected.AsSpan(offset, length).SequenceEqual(read), $"bytes {offset}+{length} differ");
        ExtentList extents = new();
        await node.GetBlockStatusAsync(offset, length, extents, Token);
        Assert.Equal(length, extents.Length);
        foreach (var extent in extents.Where(extent => extent.IsZero))
        {
            Assert.False(
                expected.AsSpan((int)extent.Offset, (int)extent.Length).ContainsAnyExcept((byte)0),
                    $"{extent} is not zero");
        }

        var bitmap = node.Bitmaps.Find("b")!;
        Assert.False(bitmap.IsInconsistent);
        Assert.Equal(dirty.Count(mark => mark), bitmap.DirtyGranules);
        var probe = random.Next(dirty.Length);
        Assert.Equal(dirty[probe], bitmap.Get(probe * 512L));
    }
}
