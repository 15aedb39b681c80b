using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Filters;
using Tidemark.Blocks.Graph;
using Tidemark.Blocks.Nodes;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Qcow2.Tests;

/// <summary>
/// A qcow2 scratch overlay over a live disk, as a pull backup has it: on real threads, what is read through the overlay
/// is the disk at the filter's point in time.
/// </summary>
public sealed class FleecingTests
{
    private const int Length = (4 << 20) + 1536;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(4096)]
    [InlineData(65536)]
    [InlineData(262144)]
    public Task A_scratch_overlay_shows_the_point_in_time_while_the_guest_writes(int clusterSize) =>
        TestSeed.RunAsync(random => RunAsync(clusterSize, random));

    private static async Task RunAsync(int clusterSize, Random random)
    {
        var frozen = Fill(random);
        await using var graph = new BlockGraph();
        var disk = new MemoryNode("disk", [.. frozen]);
        var file = new GrowingNode("file");
        await Qcow2Image.CreateAsync(
            file, new Qcow2CreateOptions { Length = Length, ClusterSize = clusterSize }, Token);
        var overlay = await Qcow2Node.OpenAsync("scratch", file, new Qcow2OpenOptions { Backing = disk }, Token);
        using (var guest = graph.CreateBackend(disk, "guest"))
        {
            CopyBeforeWriteFilter filter;
            using (await graph.DrainAsync(Token))
            {
                filter = new CopyBeforeWriteFilter("filter", disk, overlay);
                filter.Install();
            }

            int[] seeds = [random.Next(), random.Next(), random.Next(), random.Next()];
            await Task.WhenAll(seeds.Select((seed, index) => Task.Run(
                () => index < 2 ? WriteAsync(guest, new Random(seed)) : ReadAsync(overlay, new Random(seed), frozen),
                Token)));
            var all = new byte[Length];
            await overlay.ReadAsync(0, all, Token);
            Assert.True(all.AsSpan().SequenceEqual(frozen));
            filter.Stop();
            using (await graph.DrainAsync(Token))
            {
                filter.Uninstall();
            }

            await filter.DisposeAsync();
        }

        await overlay.DisposeAsync();
    }

    private static async Task WriteAsync(BlockBackend guest, Random random)
    {
        for (var turn = 0; turn < 150; turn++)
        {
            var offset = random.Next(Length);
            var data = new byte[1 + random.Next(Math.Min(40_000, Length - offset))];
            switch (random.Next(4))
            {
                case 0:
                    await guest.WriteZeroesAsync(offset, data.Length, WriteFlags.MayUnmap, Token);
                    break;
                case 1:
                    await guest.DiscardAsync(offset, data.Length, Token);
                    break;
                default:
                    random.NextBytes(data);
                    await guest.WriteAsync(offset, data, cancellationToken: Token);
                    break;
            }
        }
    }

    private static async Task ReadAsync(BlockNode view, Random random, byte[] frozen)
    {
        for (var turn = 0; turn < 150; turn++)
        {
            var offset = random.Next(Length);
            var data = new byte[1 + random.Next(Math.Min(200_000, Length - offset))];
            if (random.Next(4) > 0)
            {
                await view.ReadAsync(offset, data, Token);
                Assert.True(data.AsSpan().SequenceEqual(frozen.AsSpan(offset, data.Length)));
                continue;
            }

            var extents = new ExtentList();
            await view.GetBlockStatusAsync(offset, data.Length, extents, Token);
            Assert.All(extents, extent => Assert.False(
                extent.IsZero && frozen.AsSpan((int)extent.Offset, (int)extent.Length).ContainsAnyExcept((byte)0)));
        }
    }

    private static byte[] Fill(Random random)
    {
        var content = new byte[Length];
        for (var offset = 0; offset < Length; offset += 65536)
        {
            if (random.Next(3) > 0)
            {
                random.NextBytes(content.AsSpan(offset, Math.Min(65536, Length - offset)));
            }
        }

        return content;
    }
}
