using System.Buffers;
using System.Buffers.Binary;
using Tidemark.Blocks.Bitmaps;
using Tidemark.Qcow2.Metadata;

namespace Tidemark.Qcow2.Bitmaps;

/// <summary>
/// The bits of one bitmap in the file: a table with one entry for each cluster of bits, that is its offset, or 0 for
/// all clean, or 1 for all dirty (docs/interop/qcow2, "Bitmap table").
/// </summary>
internal sealed class BitmapBits(Qcow2Metadata metadata, ImageFile file)
{
    private const ulong OffsetMask = 0x00ff_ffff_ffff_fe00;
    private const ulong AllOnes = 1;

    // Runs of neighbouring clusters are read and written together, up to this.
    private const int TransferLimit = 1 << 20;

    private readonly int _clusterSize = metadata.Header.ClusterSize;

    /// <summary>Bytes of bits of a bitmap.</summary>
    internal static long LengthOf(long diskLength, long granularity) =>
        (((diskLength + granularity - 1) / granularity) + 7) / 8;

    /// <summary>Reads the bits into an empty bitmap.</summary>
    /// <exception cref="Qcow2Exception">The table contradicts the format.</exception>
    internal async ValueTask LoadAsync(BitmapDirectoryEntry entry, DirtyBitmap bitmap,
        CancellationToken cancellationToken)
    {
        var length = LengthOf(bitmap.Length, bitmap.Granularity);
        if (entry.TableEntries != (length + _clusterSize - 1) / _clusterSize)
        {
            throw Qcow2Exception.Corrupt(
                $"the table of bitmap '{entry.Name}' has {entry.TableEntries} entries; a disk of {bitmap.Length} bytes "
                + $"needs {(length + _clusterSize - 1) / _clusterSize}");
        }

        var table = await ReadTableAsync(file, entry, _clusterSize, cancellationToken).ConfigureAwait(false);
        var buffer = ArrayPool<byte>.Shared.Rent(Math.Max(TransferLimit, _clusterSize));
        try
        {
            for (var index = 0; index < table.Length;)
            {
                index += await LoadRunAsync(table, index, buffer, bitmap, cancellationToken).ConfigureAwait(false);
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    // The entries from one index on that are alike: all clean, all dirty, or clusters one behind the other.
    private async ValueTask<int> LoadRunAsync(
        ulong[] table, int index, byte[] buffer, DirtyBitmap bitmap, CancellationToken cancellationToken)
    {
        var isStored = (table[index] & OffsetMask) != 0;
        var step = isStored ? (ulong)_clusterSize : 0;
        var count = 1;
        while (index + count < table.Length && (!isStored || (count + 1) * _clusterSize <= TransferLimit)
            && table[index + count] == table[index] + ((ulong)count * step))
        {
            count++;
        }

        var start = (long)index * _clusterSize;
        var length = Math.Min((long)count * _clusterSize, bitmap.ByteCount - start);
        if (isStored)
        {
            var bits = buffer.AsMemory(0, (int)length);
            await file.ReadAsync((long)table[index], bits, cancellationToken).ConfigureAwait(false);
            bitmap.MergeBytes(start, bits.Span);
        }
        else if (table[index] == AllOnes)
        {
            var offset = start * 8 * bitmap.Granularity;
            bitmap.Set(offset, Math.Min(length * 8 * bitmap.Granularity, bitmap.Length - offset));
        }

        return count;
    }

    /// <summary>Writes the bits and their table into new clusters. No request may be under way.</summary>
    /// <returns>Where the table lies and how many entries it has.</returns>
    internal async ValueTask<(long TableOffset, int TableEntries)> StoreAsync(
        DirtyBitmap bitmap, AllocationList allocated, CancellationToken cancellationToken)
    {
        var table = new ulong[Math.Max(1, (bitmap.ByteCount + _clusterSize - 1) / _clusterSize)];
        var perTransfer = Math.Max(1, TransferLimit / _clusterSize);
        var buffer = ArrayPool<byte>.Shared.Rent(perTransfer * _clusterSize);
        List<int> clusters = new(perTransfer);
        try
        {
            for (var index = 0; index < table.Length; index++)
            {
                var target = buffer.AsSpan(clusters.Count * _clusterSize, _clusterSize);
                table[index] = Classify(bitmap, index, target, out var isStored);
                if (isStored)
                {
                    clusters.Add(index);
                }

                if (clusters.Count == perTransfer || (clusters.Count > 0 && index == table.Length - 1))
                {
                    await WriteBitsAsync(buffer, clusters, table, allocated, cancellationToken).ConfigureAwait(false);
                    clusters.Clear();
                }
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }

        return (await WriteTableAsync(table, allocated, cancellationToken).ConfigureAwait(false), table.Length);
    }

    // What the table says of one cluster of bits, or that it must be stored: then the target holds it.
    private ulong Classify(DirtyBitmap bitmap, int index, Span<byte> target, out bool isStored)
    {
        var start = (long)index * _clusterSize;
        var length = (int)Math.Clamp(bitmap.ByteCount - start, 0, _clusterSize);
        var bits = target[..length];
        bitmap.CopyBytes(start, bits);
        target[length..].Clear();
        var isClean = !bits.ContainsAnyExcept((byte)0);
        var isDirty = length == _clusterSize && !bits.ContainsAnyExcept((byte)0xff);
        isStored = !isClean && !isDirty;
        return isDirty ? AllOnes : 0;
    }

    /// <summary>Writes the table of a bitmap in which nothing is dirty.</summary>
    internal async ValueTask<(long TableOffset, int TableEntries)> StoreEmptyAsync(
        DirtyBitmap bitmap, AllocationList allocated, CancellationToken cancellationToken)
    {
        var length = LengthOf(bitmap.Length, bitmap.Granularity);
        var table = new ulong[Math.Max(1, (length + _clusterSize - 1) / _clusterSize)];
        return (await WriteTableAsync(table, allocated, cancellationToken).ConfigureAwait(false), table.Length);
    }

    private async ValueTask<long> WriteTableAsync(
        ulong[] table, AllocationList allocated, CancellationToken cancellationToken)
    {
        var tableBytes = new byte[table.Length * 8];
        for (var index = 0; index < table.Length; index++)
        {
            BinaryPrimitives.WriteUInt64BigEndian(tableBytes.AsSpan(index * 8), table[index]);
        }

        var offset = await allocated.AllocateAsync(tableBytes.Length, cancellationToken).ConfigureAwait(false);
        await file.WriteAsync(offset, tableBytes, cancellationToken).ConfigureAwait(false);
        return offset;
    }

    /// <summary>Frees the table and the bits; nothing on disk refers to them any more.</summary>
    internal async ValueTask FreeAsync(BitmapDirectoryEntry entry, CancellationToken cancellationToken)
    {
        if (entry.Problem is not null)
        {
            return;
        }

        ulong[] table;
        try
        {
            table = await ReadTableAsync(file, entry, _clusterSize, cancellationToken).ConfigureAwait(false);
        }
        catch (Qcow2Exception)
        {
            // A damaged table does not say what its clusters are: to leak them is safe.
            return;
        }

        for (var index = 0; index < table.Length;)
        {
            var count = 1;
            if ((table[index] & OffsetMask) != 0)
            {
                while (index + count < table.Length
                    && table[index + count] == table[index] + ((ulong)count * (ulong)_clusterSize))
                {
                    count++;
                }

                await metadata.FreeUnlinkedAsync((long)table[index], count).ConfigureAwait(false);
            }

            index += count;
        }

        await metadata.FreeUnlinkedAsync(
            entry.TableOffset, (int)(((entry.TableEntries * 8L) + _clusterSize - 1) / _clusterSize))
                .ConfigureAwait(false);
    }

    /// <summary>The clusters of the table, checked.</summary>
    internal static async ValueTask<ulong[]> ReadTableAsync(
        ImageFile file, BitmapDirectoryEntry entry, int clusterSize, CancellationToken cancellationToken)
    {
        var length = entry.TableEntries * 8L;
        if (entry.TableOffset > file.EndOfClusters - length)
        {
            throw Qcow2Exception.Corrupt(
                $"the table of bitmap '{entry.Name}' at 0x{entry.TableOffset:x}, {length} bytes, lies past the "
                + "end of the file");
        }

        var bytes = new byte[length];
        await file.ReadAsync(entry.TableOffset, bytes, cancellationToken).ConfigureAwait(false);
        var table = new ulong[entry.TableEntries];
        for (var index = 0; index < table.Length; index++)
        {
            var value = BinaryPrimitives.ReadUInt64BigEndian(bytes.AsSpan(index * 8));
            var offset = value & OffsetMask;
            var reserved = value & ~OffsetMask & ~(offset == 0 ? AllOnes : 0);
            if (reserved != 0 || offset % (ulong)clusterSize != 0 || (long)offset >= file.EndOfClusters)
            {
                throw Qcow2Exception.Corrupt(
                    $"entry {index} of the table of bitmap '{entry.Name}' is 0x{value:x}, no cluster of the file");
            }

            table[index] = value;
        }

        return table;
    }

    // The clusters of bits that the buffer holds, one behind the other in the file.
    private async ValueTask WriteBitsAsync(
        byte[] buffer, List<int> clusters, ulong[] table, AllocationList allocated,
        CancellationToken cancellationToken)
    {
        var length = clusters.Count * _clusterSize;
        var offset = await allocated.AllocateAsync(length, cancellationToken).ConfigureAwait(false);
        for (var step = 0; step < clusters.Count; step++)
        {
            table[clusters[step]] = (ulong)offset + ((ulong)step * (ulong)_clusterSize);
        }

        await file.WriteAsync(offset, buffer.AsMemory(0, length), cancellationToken).ConfigureAwait(false);
    }
}
