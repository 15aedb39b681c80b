using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.InteropServices;
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
        var bytes = new byte[(length + 7) / 8 * 8];
        for (var index = 0; index < table.Length;)
        {
            var start = (long)index * _clusterSize;
            var count = 1;
            if ((table[index] & OffsetMask) == 0)
            {
                var bits = bytes.AsSpan((int)start, (int)Math.Min(_clusterSize, length - start));
                bits.Fill(table[index] == AllOnes ? (byte)0xff : (byte)0);
            }
            else
            {
                while (index + count < table.Length && (count + 1) * _clusterSize <= TransferLimit
                    && table[index + count] == table[index] + ((ulong)count * (ulong)_clusterSize))
                {
                    count++;
                }

                var part = (int)Math.Min((long)count * _clusterSize, length - start);
                await file.ReadAsync((long)table[index], bytes.AsMemory((int)start, part), cancellationToken)
                    .ConfigureAwait(false);
            }

            index += count;
        }

        bitmap.MergeWords(ToWords(bytes));
    }

    /// <summary>Writes the bits and their table into new clusters.</summary>
    /// <returns>Where the table lies and how many entries it has.</returns>
    internal async ValueTask<(long TableOffset, int TableEntries)> StoreAsync(
        DirtyBitmap bitmap, AllocationList allocated, CancellationToken cancellationToken)
    {
        var bytes = ToBytes(bitmap.CopyWords());
        var length = (int)LengthOf(bitmap.Length, bitmap.Granularity);
        var table = new ulong[Math.Max(1, (length + _clusterSize - 1) / _clusterSize)];
        List<int> clusters = [];
        for (var index = 0; index < table.Length; index++)
        {
            var bits = bytes.AsSpan(index * _clusterSize, Math.Min(_clusterSize, length - (index * _clusterSize)));
            if (bits.Length == _clusterSize && !bits.ContainsAnyExcept((byte)0xff))
            {
                table[index] = AllOnes;
            }
            else if (bits.ContainsAnyExcept((byte)0))
            {
                clusters.Add(index);
            }
        }

        await WriteBitsAsync(bytes, length, clusters, table, allocated, cancellationToken).ConfigureAwait(false);
        return (await WriteTableAsync(table, allocated, cancellationToken).ConfigureAwait(false), table.Length);
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

        foreach (var cluster in table)
        {
            if ((cluster & OffsetMask) != 0)
            {
                await metadata.FreeUnlinkedAsync((long)cluster, 1).ConfigureAwait(false);
            }
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
                + $"end of the file");
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

    private async ValueTask WriteBitsAsync(
        byte[] bytes, int length, List<int> clusters, ulong[] table, AllocationList allocated,
        CancellationToken cancellationToken)
    {
        var perTransfer = Math.Max(1, TransferLimit / _clusterSize);
        var buffer = ArrayPool<byte>.Shared.Rent(perTransfer * _clusterSize);
        try
        {
            for (var start = 0; start < clusters.Count; start += perTransfer)
            {
                var count = Math.Min(perTransfer, clusters.Count - start);
                var offset = await allocated.AllocateAsync((long)count * _clusterSize, cancellationToken)
                    .ConfigureAwait(false);
                var target = buffer.AsMemory(0, count * _clusterSize);
                target.Span.Clear();
                for (var step = 0; step < count; step++)
                {
                    var from = clusters[start + step] * _clusterSize;
                    var bits = bytes.AsSpan(from, Math.Min(_clusterSize, length - from));
                    bits.CopyTo(target.Span[(step * _clusterSize)..]);
                    table[clusters[start + step]] = (ulong)offset + ((ulong)step * (ulong)_clusterSize);
                }

                await file.WriteAsync(offset, target, cancellationToken).ConfigureAwait(false);
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    // In memory a bitmap is 64-bit words; in the file it is bytes, the lowest first.
    private static ulong[] ToWords(byte[] bytes)
    {
        var words = new ulong[bytes.Length / 8];
        MemoryMarshal.Cast<byte, ulong>(bytes).CopyTo(words);
        FixOrder(words);
        return words;
    }

    private static byte[] ToBytes(ulong[] words)
    {
        FixOrder(words);
        return MemoryMarshal.AsBytes<ulong>(words).ToArray();
    }

    private static void FixOrder(Span<ulong> words)
    {
        if (!BitConverter.IsLittleEndian)
        {
            BinaryPrimitives.ReverseEndianness(words, words);
        }
    }
}
