using Tidemark.Backup.Definitions;
using Tidemark.Backup.Transfer;
using Tidemark.Blocks.Extents;
using Tidemark.Testing;

namespace Tidemark.Backup.Tests.Transfer;

public sealed class ChunkCutterTests
{
    /// <summary>Byte by byte: dirty data is read, dirty zero is zero, clean is the parent's; nothing is left
    /// out.</summary>
    [Fact]
    public void Every_byte_comes_from_where_it_should() => TestSeed.Run(random =>
    {
        for (var round = 0; round < 500; round++)
        {
            var chunkSize = random.Next(1, 40);
            var offset = (long)random.Next(5) * chunkSize;
            var length = random.Next(1, 200);
            var zero = Extents(random, offset, length, ExtentFlags.Zero);
            var dirty = random.Next(4) == 0 ? null : Extents(random, offset, length, ExtentFlags.Dirty);
            var at = offset;
            foreach (var work in ChunkCutter.Cut(offset, length, chunkSize, zero, dirty))
            {
                Assert.Equal(at / chunkSize, work.Index);
                var hole = true;
                var cleanHoles = 0;
                var cleanData = false;
                foreach (var piece in work.Pieces)
                {
                    Assert.Equal(at - (long)work.Index * chunkSize, piece.Start);
                    for (var end = at + piece.Length; at < end; at++)
                    {
                        var isZero = Has(zero, at, ExtentFlags.Zero);
                        hole &= isZero;
                        var expected = dirty is not null && !Has(dirty, at, ExtentFlags.Dirty) ? PieceSource.Parent
                            : isZero ? PieceSource.Zero : PieceSource.View;
                        Assert.Equal(expected, piece.Source);
                        var inHole = work.CleanHoles.Any(one => one.Start <= at - (long)work.Index * chunkSize
                            && at - (long)work.Index * chunkSize < one.Start + one.Length);
                        Assert.Equal(expected == PieceSource.Parent && isZero, inHole);
                        cleanHoles += inHole ? 1 : 0;
                        cleanData |= expected == PieceSource.Parent && !isZero;
                    }
                }

                Assert.Equal(hole, work.IsHole);
                Assert.Equal(cleanData, work.HasCleanData);
                Assert.Equal(cleanHoles, work.CleanHoles.Sum(one => one.Length));
            }

            Assert.Equal(offset + length, at);
        }
    });

    [Fact]
    public void A_list_that_ends_early_is_refused()
    {
        var all = new ExtentList();
        all.Append(0, 100, ExtentFlags.None);
        var shorter = new ExtentList();
        shorter.Append(0, 99, ExtentFlags.None);
        Assert.Throws<BackupException>(() => ChunkCutter.Cut(0, 100, 10, all, shorter).ToList());
        Assert.Throws<BackupException>(() => ChunkCutter.Cut(0, 100, 10, shorter, null).ToList());
    }

    private static ExtentList Extents(Random random, long offset, int length, ExtentFlags flag)
    {
        var list = new ExtentList();
        for (var at = 0; at < length;)
        {
            var count = Math.Min(random.Next(1, 60), length - at);
            list.Append(offset + at, count, random.Next(2) == 0 ? flag : ExtentFlags.None);
            at += count;
        }

        return list;
    }

    private static bool Has(ExtentList list, long at, ExtentFlags flag) =>
        (list.Single(extent => extent.Offset <= at && at < extent.End).Flags & flag) != 0;
}
