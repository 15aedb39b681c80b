using System.Buffers.Binary;
using System.Text;
using Tidemark.Qcow2.Format;

namespace Tidemark.Qcow2.Bitmaps;

/// <summary>One stored bitmap as the directory describes it; extra data is kept as it is.</summary>
internal sealed record BitmapDirectoryEntry
{
    internal const int FixedLength = 24;
    internal const int FlagsOffset = 12;
    private const byte DirtyTrackingType = 1;

    internal required long TableOffset { get; init; }

    internal required int TableEntries { get; init; }

    internal required BitmapFlags Flags { get; init; }

    internal required int GranularityBits { get; init; }

    internal required byte[] NameBytes { get; init; }

    internal byte[] ExtraData { get; init; } = [];

    internal string Name => Encoding.UTF8.GetString(NameBytes);

    internal int Length => LengthOf(NameBytes.Length, ExtraData.Length);

    /// <summary>Whether the bits may be taken as they are.</summary>
    internal bool IsUsable => (Flags & BitmapFlags.InUse) == 0
        && (ExtraData.Length == 0 || (Flags & BitmapFlags.ExtraDataCompatible) != 0);

    internal static int LengthOf(int nameLength, int extraLength) => (FixedLength + nameLength + extraLength + 7) & ~7;

    /// <summary>Parses the whole directory; each entry is checked by itself.</summary>
    internal static List<BitmapDirectoryEntry> ReadAll(ReadOnlySpan<byte> directory, uint count, int clusterSize)
    {
        List<BitmapDirectoryEntry> entries = [];
        HashSet<string> names = new(StringComparer.Ordinal);
        var offset = 0;
        while (offset < directory.Length)
        {
            var entry = ReadFrom(directory[offset..], offset, clusterSize);
            if (!names.Add(entry.Name))
            {
                throw Qcow2Exception.Corrupt($"the bitmap directory has two bitmaps named '{entry.Name}'");
            }

            entries.Add(entry);
            offset += entry.Length;
            if (entries.Count == count && offset < directory.Length)
            {
                throw Qcow2Exception.Corrupt(
                    $"the bitmap directory has more than the {count} entries that the header says");
            }
        }

        return entries.Count == count
            ? entries
            : throw Qcow2Exception.Corrupt(
                $"the bitmap directory has {entries.Count} entries; the header says {count}");
    }

    internal void WriteTo(Span<byte> target)
    {
        BinaryPrimitives.WriteInt64BigEndian(target, TableOffset);
        BinaryPrimitives.WriteInt32BigEndian(target[8..], TableEntries);
        BinaryPrimitives.WriteUInt32BigEndian(target[FlagsOffset..], (uint)Flags);
        target[16] = DirtyTrackingType;
        target[17] = (byte)GranularityBits;
        BinaryPrimitives.WriteUInt16BigEndian(target[18..], (ushort)NameBytes.Length);
        BinaryPrimitives.WriteInt32BigEndian(target[20..], ExtraData.Length);
        ExtraData.CopyTo(target[FixedLength..]);
        NameBytes.CopyTo(target[(FixedLength + ExtraData.Length)..]);
        target[(FixedLength + ExtraData.Length + NameBytes.Length)..Length].Clear();
    }

    private static BitmapDirectoryEntry ReadFrom(ReadOnlySpan<byte> source, int offset, int clusterSize)
    {
        if (source.Length < FixedLength)
        {
            throw Qcow2Exception.Corrupt($"the bitmap directory ends inside the entry at {offset}");
        }

        var tableOffset = BinaryPrimitives.ReadUInt64BigEndian(source);
        var tableEntries = BinaryPrimitives.ReadUInt32BigEndian(source[8..]);
        var flags = BinaryPrimitives.ReadUInt32BigEndian(source[FlagsOffset..]);
        var nameLength = BinaryPrimitives.ReadUInt16BigEndian(source[18..]);
        var extraLength = BinaryPrimitives.ReadUInt32BigEndian(source[20..]);
        Require(source[16] == DirtyTrackingType, "type", source[16]);
        Require(
            source[17] is >= Qcow2Limits.MinimumGranularityBits and <= Qcow2Limits.MaximumGranularityBits,
            "granularity bits", source[17]);
        Require((flags & ~(uint)BitmapFlags.All) == 0, "flags", flags);
        Require(
            tableEntries is > 0 and <= Qcow2Limits.MaximumBitmapTableEntries
                && tableEntries * (long)clusterSize <= Math.Max(clusterSize, Qcow2Limits.MaximumBitmapBytes),
            "table size", tableEntries);
        Require(
            tableOffset is > 0 and < Qcow2Limits.MaximumHostOffset && tableOffset % (ulong)clusterSize == 0,
            "table offset", tableOffset);
        Require(nameLength is > 0 and <= Qcow2Limits.MaximumBitmapNameLength, "name length", nameLength);
        Require(extraLength <= source.Length - FixedLength - nameLength, "extra data length", extraLength);
        var entry = new BitmapDirectoryEntry
        {
            TableOffset = (long)tableOffset,
            TableEntries = (int)tableEntries,
            Flags = (BitmapFlags)flags,
            GranularityBits = source[17],
            ExtraData = source.Slice(FixedLength, (int)extraLength).ToArray(),
            NameBytes = source.Slice(FixedLength + (int)extraLength, nameLength).ToArray(),
        };
        Require(entry.Length <= source.Length, "length", (ulong)entry.Length);
        return entry;

        void Require(bool holds, string field, ulong value)
        {
            if (!holds)
            {
                throw Qcow2Exception.Corrupt(
                    $"the bitmap directory entry at {offset} has the {field} 0x{value:x}, which is not possible");
            }
        }
    }
}
