using System.Numerics;
using System.Text;
using Tidemark.Blocks.Nodes;
using Tidemark.Images.Creating;
using Tidemark.Images.Formats;
using Tidemark.Images.Mapping;
using Tidemark.Images.Opening;
using Tidemark.Qcow2.Format;

namespace Tidemark.Images.Measuring;

/// <summary>Says how large an image would be, without making it: qemu-img's figures.</summary>
public static class ImageMeasure
{
    private const int EntryLength = 8;

    /// <summary>Measures an image that is to be empty.</summary>
    /// <exception cref="ImageException">The image cannot be so large.</exception>
    public static MeasureReport OfSize(long length, CreateOptions options) =>
        options.Format == ImageFormat.Raw
            ? new MeasureReport(RoundUp(length, 512), RoundUp(length, 512), null)
            : Qcow2(RoundUp(length, options.ClusterSize), 0, options, null);

    /// <summary>Measures the image that a conversion of the source would make.</summary>
    /// <exception cref="BlockException">The source cannot be read, or the image cannot be so large.</exception>
    public static async ValueTask<MeasureReport> OfImageAsync(
        OpenImage source, CreateOptions options, CancellationToken cancellationToken = default)
    {
        var length = RoundUp(source.Top.Length, 512);
        if (options.Format == ImageFormat.Raw)
        {
            return new MeasureReport(length, length, null);
        }

        var cluster = options.ClusterSize;
        var whole = RoundUp(length, cluster);

        // With a backing file nobody knows what of the chain the new image shares with it: the worst is assumed.
        var data = options.BackingFile is { Length: > 0 }
            ? whole
            : await CountDataAsync(source, cluster, cancellationToken).ConfigureAwait(false);
        var bitmaps = options.Version >= 3 && source.TopLayer.Qcow2 is { Header.Version: >= 3 }
            ? BitmapBytes(source.Top, cluster)
            : (long?)null;
        return Qcow2(whole, data, options, bitmaps);
    }

    // Whole clusters that hold something that is not known to be zero.
    private static async ValueTask<long> CountDataAsync(
        OpenImage image, long cluster, CancellationToken cancellationToken)
    {
        long count = 0, counted = 0;
        List<MapEntry> entries = [];
        ImageMap map = new(image);
        var window = map.WindowLength;
        for (long offset = 0; offset < image.Top.Length; offset += window)
        {
            entries.Clear();
            await map.AppendAsync(
                offset, Math.Min(window, image.Top.Length - offset), entries, cancellationToken).ConfigureAwait(false);
            foreach (var entry in entries)
            {
                // A cluster that an entry before reached into is counted already.
                var start = Math.Max(counted, entry.Start / cluster * cluster);
                var end = RoundUp(entry.End, cluster);
                if (!entry.Has(MapFlags.Zero) && entry.Has(MapFlags.Data) && end > start)
                {
                    count += end - start;
                    counted = end;
                }
            }
        }

        return count;
    }

    private static MeasureReport Qcow2(long length, long data, CreateOptions options, long? bitmaps)
    {
        var cluster = options.ClusterSize;
        if (cluster < 512 || cluster > 2 << 20 || !BitOperations.IsPow2(cluster))
        {
            throw ImageException.Invalid("Cluster size must be a power of two between 512 and 2048k");
        }

        if (options.RefcountBits is < 1 or > 64 || !BitOperations.IsPow2(options.RefcountBits)
            || (options.Version < 3 && options.RefcountBits != 16))
        {
            throw ImageException.Invalid(
                "Refcount width must be a power of two and may not exceed 64 bits; version 2 has 16");
        }

        var l2Entry = options.ExtendedL2 ? 2 * EntryLength : EntryLength;
        var tables = DivideUp(length / cluster, cluster / l2Entry);
        if (tables * EntryLength > Qcow2Limits.MaximumL1Bytes)
        {
            throw ImageException.Invalid("The image size is too large (try using a larger cluster size)");
        }

        var full = length + MetadataBytes(length, cluster, options.RefcountBits, l2Entry);
        if (options.Preallocation is "full" or "falloc")
        {
            data = length;
        }

        return new MeasureReport(full - length + data, full, bitmaps);
    }

    // Header, L2 and L1 tables, and refcounts for all of it and for themselves.
    private static long MetadataBytes(long length, long cluster, int refcountBits, int l2Entry)
    {
        var l2Bytes = RoundUp(length / cluster, cluster / l2Entry) * l2Entry;
        var l1Bytes = RoundUp(l2Bytes / cluster, cluster / EntryLength) * EntryLength;
        var bytes = cluster + l2Bytes + l1Bytes;
        var used = (bytes + length) / cluster;
        var perBlock = cluster * 8 / refcountBits;
        long blocks = 0, table = 0, before;
        do
        {
            before = blocks + table;
            blocks = DivideUp(used + before, perBlock);
            table = DivideUp(blocks, cluster / EntryLength);
        }
        while (blocks + table != before);

        return bytes + ((blocks + table) * cluster);
    }

    // Every bitmap as if all of it were stored: bits, their table, and the directory that names them.
    private static long BitmapBytes(BlockNode node, long cluster)
    {
        const int FixedEntryLength = 24;
        long bytes = 0, directory = 0;
        foreach (var bitmap in node.Bitmaps)
        {
            // One that is in use counts, as in QEMU: who measures a disk that a guest writes will copy it in step.
            if (!bitmap.IsPersistent || bitmap.Name is null)
            {
                continue;
            }

            var clusters = DivideUp(DivideUp(DivideUp(bitmap.Length, bitmap.Granularity), 8), cluster);
            bytes += (clusters * cluster) + RoundUp(clusters * EntryLength, cluster);
            directory += RoundUp(FixedEntryLength + Encoding.UTF8.GetByteCount(bitmap.Name), 8);
        }

        return bytes + RoundUp(directory, cluster);
    }

    private static long DivideUp(long value, long unit) => (value / unit) + (value % unit == 0 ? 0 : 1);

    private static long RoundUp(long value, long unit) => checked(DivideUp(value, unit) * unit);
}
