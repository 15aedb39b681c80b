using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Files;
using Tidemark.Blocks.Nodes;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Qcow2.Tests;

/// <summary>
/// Block status of an image whose clusters were set aside in advance, where holes of the file below are zeroes of the
/// disk: what was written is never among them.
/// </summary>
public sealed class PreallocatedStatusTests : IDisposable
{
    private const int Writers = 4;
    private const int Block = 100_000;
    private const int Blocks = 60;
    private const int Length = Block * Blocks;

    private readonly TemporaryDirectory _directory = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _directory.Dispose();

    [Theory]
    [InlineData(4096, false)]
    [InlineData(65536, false)]
    [InlineData(65536, true)]
    public Task What_was_written_is_never_called_zero_whoever_else_writes(int clusterSize, bool subclusters) =>
        TestSeed.RunAsync(random => RunAsync(random, new Qcow2CreateOptions
        {
            Length = Length,
            ClusterSize = clusterSize,
            ExtendedL2 = subclusters,
            Preallocation = Qcow2Preallocation.Metadata,
        }));

    [Fact]
    public async Task Damaged_refcounts_are_no_reason_to_look_for_holes_or_to_fail()
    {
        var path = _directory.File("damaged.qcow2");
        await using (var file = RawFileNode.Create("f", path, 0))
        {
            await Qcow2Image.CreateAsync(
                file, new Qcow2CreateOptions { Length = Length, Preallocation = Qcow2Preallocation.Metadata }, Token);

            // The refcount table's first entry, which lies behind the header: a place that is no cluster's.
            await file.WriteAsync(65536, new byte[] { 0, 0, 0, 0, 0, 1, 2, 3 }, cancellationToken: Token);
        }

        await using var below = RawFileNode.Open("f", path, readOnly: true);
        await using var node = await Qcow2Node.OpenAsync("a", below, new Qcow2OpenOptions { ReadOnly = true }, Token);
        Assert.False(await node.LooksForHolesAsync(Token));
        Assert.Equal([new Extent(0, Length, ExtentFlags.None)], await StatusAsync(node, 0, Length));
    }

    private async Task RunAsync(Random random, Qcow2CreateOptions options)
    {
        var path = _directory.File($"{Guid.NewGuid():N}.qcow2");
        await using var file = RawFileNode.Create("f", path, 0);
        await Qcow2Image.CreateAsync(file, options, Token);
        await using var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token);

        // Of subclusters that nobody has written the mapping itself says that they are not there.
        var flags = options.ExtendedL2 ? ExtentFlags.Zero | ExtentFlags.Hole : ExtentFlags.Zero;
        Assert.Equal([new Extent(0, Length, flags)], await StatusAsync(node, 0, Length));

        var expected = new byte[Length];
        var seeds = Enumerable.Range(0, Writers).Select(_ => random.Next()).ToArray();
        await Task.WhenAll(Enumerable.Range(0, Writers).Select(writer => Task.Run(() =>
            WriteAsync(node, writer, new Random(seeds[writer]), expected))));

        var all = new byte[Length];
        await node.ReadAsync(0, all, Token);
        Assert.Equal(expected, all);
        var extents = await StatusAsync(node, 0, Length);
        Assert.Equal(Length, extents[^1].End);
        Assert.Contains(extents, extent => extent.Flags == flags);
        Assert.All(extents.Where(extent => extent.IsZero), extent => Assert.False(
            all.AsSpan((int)extent.Offset, (int)extent.Length).ContainsAnyExcept((byte)0), $"{extent} is not zero"));
    }

    // Writer w owns the blocks that are w modulo 4: neighbours share clusters, not bytes.
    private static async Task WriteAsync(Qcow2Node node, int writer, Random random, byte[] expected)
    {
        for (var step = 0; step < 300; step++)
        {
            var start = ((random.Next(Blocks / Writers) * Writers) + writer) * Block;
            var offset = start + random.Next(Block - 1);
            var data = new byte[1 + random.Next(Math.Min(Block - (offset - start), 8192))];
            switch (random.Next(10))
            {
                case 0:
                    await node.FlushAsync(Token);
                    break;
                case 1:
                    // Whole clusters lose their place, which is punched once nobody uses it any more.
                    await node.DiscardAsync(start, Block, Token);
                    await node.ReadAsync(start, expected.AsMemory(start, Block), Token);
                    break;
                case 2:
                    await node.WriteZeroesAsync(offset, data.Length, WriteFlags.MayUnmap, Token);
                    data.CopyTo(expected, offset);
                    break;
                default:
                    Array.Fill(data, (byte)(1 + random.Next(255)));
                    await node.WriteAsync(offset, data, WriteFlags.None, Token);
                    data.CopyTo(expected, offset);
                    var extents = await StatusAsync(node, offset, data.Length);
                    Assert.DoesNotContain(extents, extent => extent.IsZero);
                    break;
            }
        }
    }

    private static async Task<ExtentList> StatusAsync(Qcow2Node node, long offset, long length)
    {
        ExtentList extents = new();
        await node.GetBlockStatusAsync(offset, length, extents, Token);
        return extents;
    }
}
