using System.Buffers.Binary;
using System.Text;

namespace Tidemark.Qcow2.Format;

/// <summary>Parses the first cluster. Each number is checked against a limit of <see cref="Qcow2Limits"/> and against
/// the file before anything is sized by it; what is not supported is refused by its name.</summary>
internal static class Qcow2HeaderReader
{
    internal const int Version2Length = 72;
    internal const int Version3Length = 104;

    /// <summary>The cluster bits of an image, from its first bytes.</summary>
    /// <exception cref="Qcow2Exception">Not a qcow2 image of version 2 or 3.</exception>
    internal static int ReadClusterBits(ReadOnlySpan<byte> start)
    {
        if (start.Length < Version2Length || BinaryPrimitives.ReadUInt32BigEndian(start) != Qcow2Header.Magic)
        {
            throw Qcow2Exception.Corrupt("not a qcow2 image: the magic bytes 'QFI\\xfb' are missing");
        }

        var version = BinaryPrimitives.ReadUInt32BigEndian(start[4..]);
        if (version is not (2 or 3))
        {
            throw Qcow2Exception.NotSupported($"qcow2 version {version} is not supported; versions 2 and 3 are");
        }

        var bits = BinaryPrimitives.ReadUInt32BigEndian(start[20..]);
        return bits is >= Qcow2Limits.MinimumClusterBits and <= Qcow2Limits.MaximumClusterBits
            ? (int)bits
            : throw Qcow2Exception.NotSupported(
                $"cluster_bits is {bits}; {Qcow2Limits.MinimumClusterBits} to {Qcow2Limits.MaximumClusterBits} "
                + "are possible");
    }

    /// <summary>Parses and checks the whole first cluster.</summary>
    /// <param name="cluster">The first cluster; bytes past the end of the file are zero.</param>
    /// <remarks>Whether the tables are in the file is another question: <see cref="CheckInside"/>.</remarks>
    internal static Qcow2Header Read(ReadOnlySpan<byte> cluster)
    {
        var clusterBits = ReadClusterBits(cluster);
        var version = (int)BinaryPrimitives.ReadUInt32BigEndian(cluster[4..]);
        var headerLength = version == 2 ? Version2Length : ReadHeaderLength(cluster);
        var crypt = BinaryPrimitives.ReadUInt32BigEndian(cluster[32..]);
        if (crypt != 0)
        {
            var name = crypt switch { 1 => "AES", 2 => "LUKS", _ => $"method {crypt}" };
            throw Qcow2Exception.NotSupported($"the image is encrypted ({name}), which is not supported");
        }

        var header = new Qcow2Header
        {
            Version = version,
            ClusterBits = clusterBits,
            Length = ReadLength(cluster[24..], "disk size"),
            L1EntryCount = ReadCount(cluster[36..], Qcow2Limits.MaximumL1Bytes / 8, "L1 table entries"),
            L1Offset = ReadLength(cluster[40..], "L1 table offset"),
            RefcountTableOffset = ReadLength(cluster[48..], "refcount table offset"),
            RefcountTableClusters = ReadCount(
                cluster[56..], Qcow2Limits.MaximumRefcountTableBytes >> clusterBits, "refcount table clusters"),
            SnapshotCount = ReadCount(cluster[60..], Qcow2Limits.MaximumSnapshots, "internal snapshots"),
            SnapshotsOffset = ReadLength(cluster[64..], "snapshot table offset"),
            AdditionalFields = version == 2 ? [] : cluster[Version3Length..headerLength].ToArray(),
        };
        if (version == 3)
        {
            header = ReadVersion3(header, cluster);
        }

        var extensions = ReadExtensions(cluster, headerLength, out var areaEnd);
        header = ReadBackingFile(header with { Extensions = extensions }, cluster, areaEnd);
        header = ApplyExtensions(header);
        CheckTables(header);
        return header;
    }

    private static Qcow2Header ReadVersion3(Qcow2Header header, ReadOnlySpan<byte> cluster)
    {
        var incompatible = BinaryPrimitives.ReadUInt64BigEndian(cluster[72..]);
        var order = BinaryPrimitives.ReadUInt32BigEndian(cluster[96..]);
        if (order > Qcow2Limits.MaximumRefcountOrder)
        {
            throw Qcow2Exception.NotSupported(
                $"refcounts of 2^{order} bits are not possible; at most 2^{Qcow2Limits.MaximumRefcountOrder} are");
        }

        var compression = header.AdditionalFields.Length > 0 ? header.AdditionalFields[0] : 0;
        var other = (incompatible & FeatureBits.CompressionType) != 0;
        if (compression > 1)
        {
            throw Qcow2Exception.NotSupported(
                $"compression type {compression} is not supported; 0 (zlib) and 1 (zstd) are");
        }

        if (other != (compression != 0))
        {
            throw Qcow2Exception.Corrupt(
                $"compression type {compression} contradicts the incompatible feature 'compression type' ({other})");
        }

        return header with
        {
            IncompatibleFeatures = incompatible,
            CompatibleFeatures = BinaryPrimitives.ReadUInt64BigEndian(cluster[80..]),
            AutoclearFeatures = BinaryPrimitives.ReadUInt64BigEndian(cluster[88..]),
            RefcountOrder = (int)order,
            CompressionType = compression,
        };
    }

    private static int ReadHeaderLength(ReadOnlySpan<byte> cluster)
    {
        var length = BinaryPrimitives.ReadUInt32BigEndian(cluster[100..]);
        return length >= Version3Length && length % 8 == 0 && length <= cluster.Length
            ? (int)length
            : throw Qcow2Exception.Corrupt(
                $"the header's length {length} is not a multiple of 8 from {Version3Length} to the cluster size "
                + $"{cluster.Length}");
    }

    private static List<HeaderExtension> ReadExtensions(ReadOnlySpan<byte> cluster, int offset, out int areaEnd)
    {
        List<HeaderExtension> extensions = [];
        var backing = BinaryPrimitives.ReadUInt64BigEndian(cluster[8..]);
        var limit = backing == 0 || backing > (ulong)cluster.Length ? cluster.Length : (int)backing;
        while (offset + 8 <= limit)
        {
            var type = BinaryPrimitives.ReadUInt32BigEndian(cluster[offset..]);
            var length = BinaryPrimitives.ReadUInt32BigEndian(cluster[(offset + 4)..]);
            offset += 8;
            if (type == HeaderExtension.End)
            {
                break;
            }

            if (length > limit - offset)
            {
                throw Qcow2Exception.Corrupt(
                    $"header extension 0x{type:x8} at offset {offset - 8} has {length} bytes, past the end of "
                    + $"its area at {limit}");
            }

            extensions.Add(new HeaderExtension(type, cluster.Slice(offset, (int)length).ToArray()));
            offset += (int)((length + 7) & ~7u);
        }

        areaEnd = Math.Min(offset, limit);
        return extensions;
    }

    private static Qcow2Header ReadBackingFile(Qcow2Header header, ReadOnlySpan<byte> cluster, int areaEnd)
    {
        var offset = BinaryPrimitives.ReadUInt64BigEndian(cluster[8..]);
        var length = BinaryPrimitives.ReadUInt32BigEndian(cluster[16..]);
        if (offset == 0 || length == 0)
        {
            return header;
        }

        if (length > Qcow2Limits.MaximumBackingFileLength)
        {
            throw Qcow2Exception.Corrupt(
                $"the backing file's name has {length} bytes, over the limit of "
                + $"{Qcow2Limits.MaximumBackingFileLength}");
        }

        if (offset > (ulong)cluster.Length || length > (ulong)cluster.Length - offset
            || offset < (ulong)Math.Min(areaEnd, 72))
        {
            throw Qcow2Exception.Corrupt(
                $"the backing file's name at 0x{offset:x}, {length} bytes, lies outside the first cluster");
        }

        var name = cluster.Slice((int)offset, (int)length);
        return header with { BackingFileOffset = (int)offset, BackingFile = Encoding.UTF8.GetString(name) };
    }

    private static Qcow2Header ApplyExtensions(Qcow2Header header)
    {
        HashSet<uint> seen = [];
        foreach (var extension in header.Extensions)
        {
            if (!seen.Add(extension.Type))
            {
                throw Qcow2Exception.Corrupt($"header extension 0x{extension.Type:x8} stands twice");
            }

            switch (extension.Type)
            {
                case HeaderExtension.BackingFormat:
                    if (extension.Data.Length > Qcow2Limits.MaximumBackingFormatLength)
                    {
                        throw Qcow2Exception.Corrupt(
                            $"the backing format's name has {extension.Data.Length} bytes, over the limit of "
                            + $"{Qcow2Limits.MaximumBackingFormatLength}");
                    }

                    header = header with { BackingFormat = Encoding.UTF8.GetString(extension.Data) };
                    break;
                case HeaderExtension.Bitmaps when (header.AutoclearFeatures & FeatureBits.Bitmaps) != 0:
                    header = ReadBitmaps(header, extension);
                    break;
                case HeaderExtension.ExternalDataFile when header.HasDataFile:
                    header = header with { DataFile = ReadDataFile(extension) };
                    break;
                default:
                    break;
            }
        }

        var unknown = header.IncompatibleFeatures & ~FeatureBits.KnownIncompatible;
        if (unknown != 0)
        {
            throw Qcow2Exception.NotSupported(
                $"unsupported incompatible features: {NamesOf(unknown, header.Extensions)}");
        }

        if ((header.AutoclearFeatures & FeatureBits.Bitmaps) != 0 && !seen.Contains(HeaderExtension.Bitmaps))
        {
            header = header with
            {
                BitmapsProblem = "the autoclear feature 'bitmaps' is set, but there is no bitmaps extension",
            };
        }

        if (header.HasExtendedL2 && header.ClusterBits < Qcow2Limits.MinimumExtendedClusterBits)
        {
            throw Qcow2Exception.Corrupt(
                $"the image has extended L2 entries and clusters of 2^{header.ClusterBits} bytes; they need at least "
                + $"2^{Qcow2Limits.MinimumExtendedClusterBits}");
        }

        return header;
    }

    // What is wrong with the bitmaps leaves the disk readable, so it is noted.
    private static Qcow2Header ReadBitmaps(Qcow2Header header, HeaderExtension extension)
    {
        try
        {
            return header with { Bitmaps = BitmapsExtension.ReadFrom(extension.Data, header.ClusterSize) };
        }
        catch (Qcow2Exception exception)
        {
            return header with { BitmapsProblem = exception.Message };
        }
    }

    private static string ReadDataFile(HeaderExtension extension) =>
        extension.Data.Length <= Qcow2Limits.MaximumBackingFileLength
            ? Encoding.UTF8.GetString(extension.Data)
            : throw Qcow2Exception.Corrupt(
                $"the data file's name has {extension.Data.Length} bytes, over the limit of "
                + $"{Qcow2Limits.MaximumBackingFileLength}");

    // The image's own feature name table says what bits are called that this program does not know.
    private static string NamesOf(ulong bits, IReadOnlyList<HeaderExtension> extensions)
    {
        const int EntryLength = 48;
        var table = extensions.FirstOrDefault(e => e.Type == HeaderExtension.FeatureNames)?.Data ?? [];
        List<string> names = [];
        for (var bit = 0; bit < 64; bit++)
        {
            if ((bits & (1UL << bit)) == 0)
            {
                continue;
            }

            var name = $"unknown incompatible feature {bit}";
            for (var offset = 0; offset + EntryLength <= table.Length; offset += EntryLength)
            {
                if (table[offset] == 0 && table[offset + 1] == bit)
                {
                    name = Encoding.UTF8.GetString(table.AsSpan(offset + 2, EntryLength - 2)).TrimEnd('\0');
                }
            }

            names.Add(name);
        }

        return string.Join(", ", names);
    }

    private static void CheckTables(Qcow2Header header)
    {
        var clusterSize = (long)header.ClusterSize;
        var needed = header.L1EntriesFor(header.Length);
        if (needed > header.L1EntryCount)
        {
            throw Qcow2Exception.Corrupt(
                $"the L1 table has {header.L1EntryCount} entries, too few for a disk of {header.Length} bytes "
                + $"({needed} needed)");
        }

        CheckPlace("L1 table", header.L1Offset, header.L1EntryCount > 0);
        CheckPlace("refcount table", header.RefcountTableOffset, header.RefcountTableClusters > 0);
        CheckPlace("snapshot table", header.SnapshotsOffset, header.SnapshotCount > 0);

        void CheckPlace(string what, long offset, bool used)
        {
            if (used && (offset == 0 || offset % clusterSize != 0))
            {
                throw Qcow2Exception.Corrupt($"the {what}'s offset 0x{offset:x} is not that of a cluster");
            }

            if (used && offset >= Qcow2Limits.MaximumHostOffset)
            {
                throw Qcow2Exception.Corrupt(
                    $"the {what}'s offset 0x{offset:x} is past the end of all offsets that "
                    + $"clusters have (0x{Qcow2Limits.MaximumHostOffset:x})");
            }
        }
    }

    /// <summary>Refuses to use an image that lacks a refcount table, or of whose tables a part is not in the
    /// file.</summary>
    /// <exception cref="Qcow2Exception">It does.</exception>
    internal static void CheckUsable(Qcow2Header header, long fileLength)
    {
        if (header.RefcountTableClusters == 0)
        {
            throw Qcow2Exception.Corrupt("the image has no refcount table; image check -r all makes a new one");
        }

        CheckInside(header, fileLength);
    }

    /// <summary>Refuses to use or to repair an image of whose tables a part is not in the file: what is not there would
    /// read as zeroes, and be taken for unused. It can be described and checked.</summary>
    /// <exception cref="Qcow2Exception">It is such.</exception>
    internal static void CheckInside(Qcow2Header header, long fileLength)
    {
        var clusterSize = (long)header.ClusterSize;
        var fileEnd = (fileLength + clusterSize - 1) / clusterSize * clusterSize;
        Check("L1 table", header.L1Offset, header.L1EntryCount * 8L);
        Check("refcount table", header.RefcountTableOffset, header.RefcountTableClusters * clusterSize);
        Check("snapshot table", header.SnapshotsOffset, header.SnapshotCount > 0 ? 1 : 0);

        void Check(string what, long offset, long length)
        {
            if (length > 0 && (offset > fileEnd || length > fileEnd - offset))
            {
                throw Qcow2Exception.Corrupt(
                    $"the {what} at 0x{offset:x}, {length} bytes, lies past the end of the file ({fileLength} bytes)");
            }
        }
    }

    private static int ReadCount(ReadOnlySpan<byte> field, int maximum, string what)
    {
        var value = BinaryPrimitives.ReadUInt32BigEndian(field);
        return value <= maximum
            ? (int)value
            : throw Qcow2Exception.Corrupt($"{value} {what} are over the limit of {maximum}");
    }

    private static long ReadLength(ReadOnlySpan<byte> field, string what)
    {
        var value = BinaryPrimitives.ReadUInt64BigEndian(field);
        return value <= long.MaxValue
            ? (long)value
            : throw Qcow2Exception.Corrupt($"the {what} 0x{value:x} is out of range");
    }
}
