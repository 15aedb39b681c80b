using Tidemark.Blocks.Bitmaps;
using Tidemark.Qcow2.Format;
using Tidemark.Qcow2.Metadata;

namespace Tidemark.Qcow2.Bitmaps;

// From the file into memory.
internal sealed partial class BitmapStore
{
    private async ValueTask LoadAllAsync(
        Qcow2Node node, BitmapsExtension extension, CancellationToken cancellationToken)
    {
        var entries = await ReadDirectoryAsync(
            file, extension, node.Length, (int)metadata.ClusterSize, cancellationToken).ConfigureAwait(false);
        List<StoredBitmap> stored = [];
        foreach (var entry in entries)
        {
            var bitmap = await LoadOneAsync(entry, node.Length, cancellationToken).ConfigureAwait(false);
            stored.Add(new StoredBitmap(entry, bitmap));
            node.Bitmaps.Add(bitmap);
        }

        SetStored(stored);
    }

    // Nothing has been written to the disk yet.
    private ValueTask PutAsideAsync(BrokenBitmapPolicy policy, CancellationToken cancellationToken) =>
        metadata.UpdateHeaderAsync(
            header => policy == BrokenBitmapPolicy.Drop
                ? header.WithBitmaps(null)
                : header with
                {
                    Bitmaps = null,
                    BitmapsProblem = null,
                    AutoclearFeatures = header.AutoclearFeatures & ~FeatureBits.Bitmaps,
                },
            cancellationToken);

    /// <summary>Reads the directory.</summary>
    /// <exception cref="Qcow2Exception">It lies outside the file, or its entries cannot be told apart.</exception>
    internal static async ValueTask<List<BitmapDirectoryEntry>> ReadDirectoryAsync(
        ImageFile file, BitmapsExtension extension, long diskLength, int clusterSize,
        CancellationToken cancellationToken)
    {
        if (extension.DirectoryOffset > file.EndOfClusters - extension.DirectoryLength)
        {
            throw Qcow2Exception.Corrupt(
                $"the bitmap directory at 0x{extension.DirectoryOffset:x}, {extension.DirectoryLength} bytes, "
                + "lies past the end "
                + "of the file");
        }

        var bytes = new byte[extension.DirectoryLength];
        await file.ReadAsync(extension.DirectoryOffset, bytes, cancellationToken).ConfigureAwait(false);
        var entries = BitmapDirectoryEntry.ReadAll(bytes, extension.Count, clusterSize);
        long total = 0;
        foreach (var entry in entries.Where(entry => entry.Problem is null))
        {
            total += BitmapBits.LengthOf(diskLength, 1L << entry.GranularityBits);
            if (total > Qcow2Limits.MaximumTotalBitmapBytes)
            {
                throw Qcow2Exception.Corrupt(
                    $"the bitmaps up to '{entry.Name}' need {total} bytes of memory, over the limit of "
                    + $"{Qcow2Limits.MaximumTotalBitmapBytes}");
            }
        }

        return entries;
    }

    private async ValueTask<DirtyBitmap> LoadOneAsync(
        BitmapDirectoryEntry entry, long diskLength, CancellationToken cancellationToken)
    {
        if (entry.IsUsable)
        {
            try
            {
                DirtyBitmap bitmap = new(entry.Name, diskLength, 1L << entry.GranularityBits) { IsPersistent = true };
                await _bits.LoadAsync(entry, bitmap, cancellationToken).ConfigureAwait(false);
                bitmap.IsRecording = (entry.Flags & BitmapFlags.Auto) != 0;
                return bitmap;
            }
            catch (Qcow2Exception)
            {
                // Its bits are lost; that it was there is worth telling. It is never used.
            }
        }

        var granularity = entry.Problem is null ? 1L << entry.GranularityBits : DirtyBitmap.DefaultGranularity;
        return new DirtyBitmap(entry.Name, diskLength, granularity)
        {
            IsPersistent = true,
            IsInconsistent = true,
        };
    }
}
