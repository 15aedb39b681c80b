using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;
using Tidemark.Testing;

namespace Tidemark.Blocks.Tests.Bitmaps;

public sealed class DirtyBitmapTests
{
    private const int Granularity = 512;

    [Fact]
    public void Random_changes_leave_what_a_plain_array_has() => TestSeed.Run(random =>
    {
        for (var round = 0; round < 60; round++)
        {
            var length = 1 + random.Next(200 * Granularity);
            var bitmap = new DirtyBitmap("b", length, Granularity);
            var model = new bool[(length + Granularity - 1) / Granularity];
            for (var step = 0; step < 60; step++)
            {
                Change(random, bitmap, model);
            }

            Check(random, bitmap, model);
        }
    });

    [Fact]
    public void Merging_marks_all_that_either_marked_whatever_the_granularities() => TestSeed.Run(random =>
    {
        for (var round = 0; round < 60; round++)
        {
            var length = 1 + random.Next(1 << 20);
            var target = new DirtyBitmap("t", length, 512L << random.Next(8));
            var source = new DirtyBitmap("s", length, 512L << random.Next(8));
            var expected = new DirtyBitmap("e", length, target.Granularity);
            for (var count = random.Next(20); count > 0; count--)
            {
                var offset = random.Next(length);
                var bytes = random.Next(Math.Min(length - offset, 50_000));
                target.Set(offset, bytes);
                expected.Set(offset, bytes);
                offset = random.Next(length);
                bytes = random.Next(Math.Min(length - offset, 50_000));
                source.Set(offset, bytes);
                expected.Set(offset / source.Granularity * source.Granularity, 0);
            }

            var before = target.CopyWords();
            target.Merge(source);
            for (var at = 0; at < length; at += 512)
            {
                // Never too little; and too much only within one granule of the target.
                Assert.True(!source.Get(at) || target.Get(at));
            }

            var undone = new DirtyBitmap("u", length, target.Granularity);
            undone.MergeWords(before);
            for (long at = 0; at < length; at += target.Granularity)
            {
                var touched = !IsClean(source, at, Math.Min(target.Granularity, length - at));
                Assert.Equal(touched || undone.Get(at), target.Get(at));
            }

            target.RestoreWords(before);
            Assert.Equal(undone.CopyWords(), target.CopyWords());
            Assert.Equal(undone.DirtyGranules, target.DirtyGranules);
        }
    });

    [Fact]
    public void Bits_go_to_a_file_and_back_in_parts_and_are_added_to_what_is_there() => TestSeed.Run(random =>
    {
        for (var round = 0; round < 100; round++)
        {
            var length = 1 + random.Next(40_000 * Granularity);
            DirtyBitmap source = new("s", length, Granularity);
            DirtyBitmap target = new("t", length, Granularity);
            DirtyBitmap expected = new("e", length, Granularity);
            foreach (var bitmap in new[] { source, target })
            {
                for (var count = random.Next(12); count > 0; count--)
                {
                    var offset = random.Next(length);
                    var marked = random.Next(Math.Min(length - offset, random.Next(2) == 0 ? 2_000_000 : 2000));
                    bitmap.Set(offset, marked);
                    expected.Set(offset, marked);
                }
            }

            var bytes = new byte[source.ByteCount];
            for (var start = 0; start < bytes.Length;)
            {
                var part = Math.Min(bytes.Length - start, 8 * (1 + random.Next(200)));
                source.CopyBytes(start, bytes.AsSpan(start, part));
                start += part;
            }

            // Bits past the last granule mean nothing, whoever wrote them.
            bytes[^1] |= (byte)(0xff << (int)(((source.GranuleCount - 1) & 7) + 1));
            for (var start = 0; start < bytes.Length;)
            {
                var part = Math.Min(bytes.Length - start, 8 * (1 + random.Next(200)));
                target.MergeBytes(start, bytes.AsSpan(start, part));
                start += part;
            }

            Assert.Equal(expected.CopyWords(), target.CopyWords());
            Assert.Equal(expected.DirtyGranules, target.DirtyGranules);
            for (long granule = 0; granule < source.GranuleCount; granule++)
            {
                var bit = (bytes[granule / 8] >> (int)(granule & 7)) & 1;
                Assert.True((bit != 0) == source.Get(granule * Granularity), $"granule {granule}");
            }

            Assert.Throws<ArgumentOutOfRangeException>(() => target.MergeBytes(4, bytes.AsSpan(0, 1)));
            Assert.Throws<ArgumentOutOfRangeException>(() => target.CopyBytes(8, bytes));
        }
    });

    [Fact]
    public void Clearing_a_part_of_a_granule_is_refused()
    {
        var bitmap = new DirtyBitmap("b", 1000, Granularity);
        bitmap.Set(0, 1000);
        Assert.Throws<ArgumentException>(() => bitmap.Reset(0, 100));
        Assert.Throws<ArgumentException>(() => bitmap.Reset(100, 412));
        Assert.Throws<ArgumentException>(() => bitmap.Reset(512, 400));
        Assert.Equal(2, bitmap.DirtyGranules);
        bitmap.Reset(512, 488);
        Assert.Equal(1, bitmap.DirtyGranules);
    }

    [Fact]
    public void The_search_for_the_end_of_a_run_stops_where_it_is_told()
    {
        var bitmap = new DirtyBitmap("b", 100 * Granularity, Granularity);
        bitmap.Set(10 * Granularity, 80 * Granularity);
        Assert.True(bitmap.TryNextDirty(0, bitmap.Length, out var run, 4 * Granularity));
        Assert.Equal(new Extent(10 * Granularity, 4 * Granularity, ExtentFlags.Dirty), run);
        Assert.True(bitmap.TryNextDirty(0, bitmap.Length, out run));
        Assert.Equal(80 * Granularity, run.Length);
        Assert.True(bitmap.IsAllDirty(10 * Granularity, 80 * Granularity));
        Assert.False(bitmap.IsAllDirty((10 * Granularity) - 1, 2));
        Assert.True(bitmap.IsAllDirty(0, 0));
    }

    [Fact]
    public void Limits_are_named()
    {
        Assert.Throws<BlockException>(() => new DirtyBitmap("b", 4096, 1000));
        Assert.Throws<BlockException>(() => new DirtyBitmap("b", 4096, 256));
        Assert.Throws<BlockException>(() => new DirtyBitmap("b", 4096, 1L << 32));
        Assert.Throws<BlockException>(() => new DirtyBitmap("b", long.MaxValue, 512));
        Assert.Throws<ArgumentOutOfRangeException>(() => new DirtyBitmap("b", 4096, 512).Set(4000, 97));
    }

    [Fact]
    public void Marks_set_by_many_threads_are_all_there()
    {
        var bitmap = new DirtyBitmap("b", 64 * 1024, Granularity);
        Parallel.For(0, 128, index => bitmap.Set((long)index * Granularity, 1));
        Assert.Equal(128, bitmap.DirtyGranules);
    }

    private static bool IsClean(DirtyBitmap bitmap, long offset, long length) =>
        !bitmap.TryNextDirty(offset, length, out _);

    private static void Change(Random random, DirtyBitmap bitmap, bool[] model)
    {
        var first = random.Next(model.Length);
        var count = random.Next(Math.Min(40, model.Length - first)) + 1;
        var end = Math.Min(bitmap.Length, (long)(first + count) * Granularity);
        switch (random.Next(8))
        {
            case 0:
                bitmap.Clear();
                Array.Clear(model);
                break;
            case < 4:
                bitmap.Reset((long)first * Granularity, end - ((long)first * Granularity));
                model.AsSpan(first, count).Clear();
                break;
            default:
                // Any bytes of the granules: marking widens outward.
                var from = ((long)first * Granularity) + random.Next(Granularity);
                from = Math.Min(from, bitmap.Length - 1);
                var to = from + 1 + random.NextInt64(end - from);
                to = Math.Min(to, end);
                bitmap.Set(from, to - from);
                model.AsSpan(first, (int)((to - 1) / Granularity) - first + 1).Fill(true);
                break;
        }
    }

    private static void Check(Random random, DirtyBitmap bitmap, bool[] model)
    {
        Assert.Equal(model.Count(bit => bit), bitmap.DirtyGranules);
        Assert.Equal(bitmap.DirtyGranules * Granularity, bitmap.DirtyBytes);
        for (var index = 0; index < model.Length; index++)
        {
            Assert.Equal(model[index], bitmap.Get((long)index * Granularity));
        }

        var offset = random.NextInt64(bitmap.Length);
        var length = random.NextInt64(bitmap.Length - offset) + 1;
        var extents = new ExtentList();
        bitmap.AppendExtents(offset, length, extents);
        Assert.Equal(length, extents.Length);
        foreach (var extent in extents)
        {
            for (var at = extent.Offset; at < extent.End; at++)
            {
                if (model[at / Granularity] != extent.IsDirty)
                {
                    Assert.Fail($"byte {at} is said to be {extent.Flags}");
                }
            }
        }

        var all = true;
        for (var index = offset / Granularity; index <= (offset + length - 1) / Granularity; index++)
        {
            all &= model[index];
        }

        Assert.Equal(all, bitmap.IsAllDirty(offset, length));
    }
}
