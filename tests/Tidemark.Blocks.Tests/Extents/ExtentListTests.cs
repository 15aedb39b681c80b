using Tidemark.Blocks.Extents;
using Tidemark.Testing;

namespace Tidemark.Blocks.Tests.Extents;

public sealed class ExtentListTests
{
    [Fact]
    public void Random_appends_say_of_each_byte_what_a_plain_array_says() => TestSeed.Run(random =>
    {
        for (var round = 0; round < 300; round++)
        {
            var list = new ExtentList();
            List<ExtentFlags> model = [];
            var start = random.Next(100);
            for (var count = random.Next(20); count >= 0; count--)
            {
                var flags = (ExtentFlags)random.Next(8);
                var length = 1 + random.Next(30);
                list.Append(start + model.Count, length, flags);
                model.AddRange(Enumerable.Repeat(flags, length));
            }

            Check(list, start, model);
        }
    });

    [Fact]
    public void An_extent_that_leaves_a_gap_overlaps_or_is_empty_is_refused()
    {
        var list = new ExtentList();
        list.Append(10, 5, ExtentFlags.Zero);
        Assert.Throws<ArgumentException>(() => list.Append(16, 1, ExtentFlags.Zero));
        Assert.Throws<ArgumentException>(() => list.Append(14, 1, ExtentFlags.Zero));
        Assert.Throws<ArgumentException>(() => list.Append(15, 0, ExtentFlags.Zero));
        Assert.Equal([new Extent(10, 5, ExtentFlags.Zero)], list);
    }

    private static void Check(ExtentList list, int start, List<ExtentFlags> model)
    {
        Assert.Equal(model.Count, list.Length);
        Assert.Equal(model, list.SelectMany(extent => Enumerable.Repeat(extent.Flags, (int)extent.Length)));
        if (list.Count > 0)
        {
            Assert.Equal(start, list[0].Offset);
            Assert.Equal(start + model.Count, list[^1].End);
        }

        Assert.All(list.Zip(list.Skip(1)), pair => Assert.True(
            pair.First.Flags != pair.Second.Flags && pair.First.End == pair.Second.Offset));
    }
}
