using System.Buffers.Binary;

namespace Tidemark.Testing.Images;

/// <summary>
/// A disk of 1 TiB of which one cluster in sixteen is allocated, 1 Mi of them, each somewhere else in the file: laid by
/// hand in a moment, because the data itself is holes. 130 MiB of tables, and a file of 64 GiB that takes no more than
/// those.
/// </summary>
public static class HugeImage
{
    public const long DiskLength = 1L << 40;

    public const int Clusters = 1 << 20;

    private const int ClusterBits = 16;
    private const int ClusterSize = 1 << ClusterBits;
    private const int Step = 16;
    private const int PerTable = ClusterSize / 8;
    private const int Tables = (int)(DiskLength / ClusterSize / PerTable);
    private const ulong Copied = 1UL << 63;

    /// <summary>Writes the image.</summary>
    public static async Task CreateAsync(string path)
    {
        // Header, refcount table, L1 table, refcount blocks, L2 tables, data.
        const int L1 = 2, Blocks = 3;
        const long All = Blocks + 64 + Tables + (long)Clusters;
        const int BlockCount = (int)((All + (ClusterSize / 2) - 1) / (ClusterSize / 2));
        const int FirstTable = Blocks + BlockCount;
        const long FirstData = FirstTable + Tables;
        const long End = FirstData + Clusters;
        await using var file = File.Create(path);
        file.SetLength(End << ClusterBits);
        var cluster = new byte[ClusterSize];
        Header(cluster, L1);
        await WriteAsync(file, 0, cluster);
        Array.Clear(cluster);
        for (var block = 0; block < BlockCount; block++)
        {
            BinaryPrimitives.WriteInt64BigEndian(cluster.AsSpan(block * 8), (long)(Blocks + block) << ClusterBits);
        }

        await WriteAsync(file, 1, cluster);
        for (var table = 0; table < Tables; table++)
        {
            BinaryPrimitives.WriteUInt64BigEndian(
                cluster.AsSpan(table * 8), ((ulong)(FirstTable + table) << ClusterBits) | Copied);
        }

        await WriteAsync(file, L1, cluster);
        for (var block = 0; block < BlockCount; block++)
        {
            Array.Clear(cluster);
            var counted = Math.Clamp(End - ((long)block * ClusterSize / 2), 0, ClusterSize / 2);
            for (var entry = 0; entry < counted; entry++)
            {
                cluster[(entry * 2) + 1] = 1;
            }

            await WriteAsync(file, Blocks + block, cluster);
        }

        for (var table = 0; table < Tables; table++)
        {
            Array.Clear(cluster);
            for (var entry = 0; entry < PerTable; entry += Step)
            {
                // Scattered: neighbours of the disk are far from each other in the file. The factor is odd.
                var number = (((long)table * PerTable) + entry) / Step;
                var place = FirstData + (number * 0x9e3779b1L & (Clusters - 1));
                BinaryPrimitives.WriteUInt64BigEndian(
                    cluster.AsSpan(entry * 8), ((ulong)place << ClusterBits) | Copied);
            }

            await WriteAsync(file, FirstTable + table, cluster);
        }
    }

    private static void Header(Span<byte> header, int l1)
    {
        BinaryPrimitives.WriteUInt32BigEndian(header, 0x514649fb);
        BinaryPrimitives.WriteInt32BigEndian(header[4..], 3);
        BinaryPrimitives.WriteInt32BigEndian(header[20..], ClusterBits);
        BinaryPrimitives.WriteInt64BigEndian(header[24..], DiskLength);
        BinaryPrimitives.WriteInt32BigEndian(header[36..], Tables);
        BinaryPrimitives.WriteInt64BigEndian(header[40..], (long)l1 << ClusterBits);
        BinaryPrimitives.WriteInt64BigEndian(header[48..], ClusterSize);
        BinaryPrimitives.WriteInt32BigEndian(header[56..], 1);
        BinaryPrimitives.WriteInt32BigEndian(header[96..], 4);
        BinaryPrimitives.WriteInt32BigEndian(header[100..], 104);
    }

    private static async Task WriteAsync(FileStream file, long cluster, byte[] content)
    {
        file.Position = cluster << ClusterBits;
        await file.WriteAsync(content);
    }
}
