using System.Buffers.Binary;
using System.Text;

namespace Tidemark.Qcow2.Format;

/// <summary>
/// Lays out a header. What changes while an image is in use (counts, offsets, the bitmaps extension) is kept within the
/// first <see cref="AtomicLength"/> bytes, which a disk writes as a whole or not at all, and the backing file's name
/// stays where it is: so that a crash in the middle of a rewrite leaves the old header or the new one. For that the
/// feature name table, which is only a help for messages, is left out when it would not fit. A foreign header whose
/// other extensions are longer than that is written in one piece, as QEMU does it.
/// </summary>
internal static class Qcow2HeaderWriter
{
    /// <summary>A sector: written as a whole or not at all.</summary>
    internal const int AtomicLength = 512;

    /// <summary>The bytes from the image's start that hold header, extensions and the backing file's name.</summary>
    /// <param name="header">The header.</param>
    /// <param name="placed">The header as it is laid out: where the name stands, which extensions there are.</param>
    internal static byte[] Write(Qcow2Header header, out Qcow2Header placed)
    {
        var name = header.BackingFileBytes;
        var extensions = FitExtensions(header, name.Length);
        var areaEnd = header.HeaderLength + extensions.Sum(extension => extension.PaddedLength) + 8;
        var keepName = name.Length > 0 && header.BackingFileOffset >= areaEnd;
        var nameOffset = name.Length == 0 ? 0
            : keepName ? header.BackingFileOffset
            : NameOffset(header, areaEnd, name.Length);
        if (areaEnd > header.ClusterSize || nameOffset + name.Length > header.ClusterSize)
        {
            throw Qcow2Exception.NotSupported(
                $"header, extensions and backing file name need {Math.Max(areaEnd, nameOffset + name.Length)} bytes; "
                + $"a cluster has {header.ClusterSize}");
        }

        // An image without a name clears the rest of a sector, an image with one at least all up to the name's end.
        var length = Math.Max(areaEnd, keepName ? 0 : nameOffset + name.Length);
        if (length < AtomicLength && (nameOffset == 0 || nameOffset >= AtomicLength))
        {
            length = AtomicLength;
        }

        placed = header with { BackingFileOffset = nameOffset, Extensions = extensions };
        var bytes = new byte[keepName ? Math.Min(length, nameOffset) : length];
        WriteFields(header, bytes, nameOffset, name.Length);
        var offset = header.HeaderLength;
        foreach (var extension in extensions)
        {
            BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(offset), extension.Type);
            BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(offset + 4), (uint)extension.Data.Length);
            extension.Data.CopyTo(bytes, offset + 8);
            offset += extension.PaddedLength;
        }

        if (!keepName)
        {
            name.CopyTo(bytes, nameOffset);
        }

        return bytes;
    }

    /// <summary>The feature name table extension of this program.</summary>
    internal static HeaderExtension FeatureNameTable()
    {
        const int EntryLength = 48;
        var data = new byte[FeatureBits.Names.Length * EntryLength];
        for (var index = 0; index < FeatureBits.Names.Length; index++)
        {
            var (type, bit, name) = FeatureBits.Names[index];
            data[index * EntryLength] = type;
            data[(index * EntryLength) + 1] = bit;
            Encoding.ASCII.GetBytes(name, data.AsSpan((index * EntryLength) + 2));
        }

        return new HeaderExtension(HeaderExtension.FeatureNames, data);
    }

    private static IReadOnlyList<HeaderExtension> FitExtensions(Qcow2Header header, int nameLength)
    {
        var room = Math.Min(AtomicLength, header.ClusterSize);
        if (nameLength > 0 && header.BackingFileOffset > 0)
        {
            room = Math.Min(room, header.BackingFileOffset);
        }
        else if (nameLength > 0 && header.ClusterSize <= AtomicLength + nameLength)
        {
            room = header.ClusterSize - nameLength;
        }

        var needed = header.HeaderLength + header.Extensions.Sum(extension => extension.PaddedLength) + 8;
        return needed <= room
            ? header.Extensions
            : [.. header.Extensions.Where(extension => extension.Type != HeaderExtension.FeatureNames)];
    }

    // Past the sector where there is room, so that later rewrites leave it alone; else just after the extensions.
    private static int NameOffset(Qcow2Header header, int areaEnd, int nameLength) =>
        areaEnd <= AtomicLength && AtomicLength + nameLength <= header.ClusterSize ? AtomicLength : areaEnd;

    private static void WriteFields(Qcow2Header header, Span<byte> bytes, int nameOffset, int nameLength)
    {
        BinaryPrimitives.WriteUInt32BigEndian(bytes, Qcow2Header.Magic);
        BinaryPrimitives.WriteInt32BigEndian(bytes[4..], header.Version);
        BinaryPrimitives.WriteInt64BigEndian(bytes[8..], nameOffset);
        BinaryPrimitives.WriteInt32BigEndian(bytes[16..], nameLength);
        BinaryPrimitives.WriteInt32BigEndian(bytes[20..], header.ClusterBits);
        BinaryPrimitives.WriteInt64BigEndian(bytes[24..], header.Length);
        BinaryPrimitives.WriteInt32BigEndian(bytes[36..], header.L1EntryCount);
        BinaryPrimitives.WriteInt64BigEndian(bytes[40..], header.L1Offset);
        BinaryPrimitives.WriteInt64BigEndian(bytes[48..], header.RefcountTableOffset);
        BinaryPrimitives.WriteInt32BigEndian(bytes[56..], header.RefcountTableClusters);
        BinaryPrimitives.WriteInt32BigEndian(bytes[60..], header.SnapshotCount);
        BinaryPrimitives.WriteInt64BigEndian(bytes[64..], header.SnapshotsOffset);
        if (header.Version == 2)
        {
            return;
        }

        BinaryPrimitives.WriteUInt64BigEndian(bytes[72..], header.IncompatibleFeatures);
        BinaryPrimitives.WriteUInt64BigEndian(bytes[80..], header.CompatibleFeatures);
        BinaryPrimitives.WriteUInt64BigEndian(bytes[88..], header.AutoclearFeatures);
        BinaryPrimitives.WriteInt32BigEndian(bytes[96..], header.RefcountOrder);
        BinaryPrimitives.WriteInt32BigEndian(bytes[100..], header.HeaderLength);
        header.AdditionalFields.CopyTo(bytes[104..]);
    }
}
