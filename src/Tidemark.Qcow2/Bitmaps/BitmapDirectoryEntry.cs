using System.Buffers.Binary;
using System.Text;
using Tidemark.Qcow2.Format;

namespace Tidemark.Qcow2.Bitmaps;

/// <summary>One stored bitmap as the directory describes it; extra data is kept as it is. An entry whose fields are not
/// possible, but whose length is, is kept byte for byte, and can be removed.</summary>
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

    /// <summary>What about the entry is not possible; null when nothing is.</summary>
    internal string? Problem { get; init; }

    /// <summary>With a <see cref="Problem"/>: the entry as it stands in the file.</summary>
    internal byte[] Raw { get; init; } = [];

    internal string Name => Encoding.UTF8.GetString(NameBytes);

    internal int Length => LengthOf(NameBytes.Length, ExtraData.Length);

    /// <summary>Whether the bits may be taken as they are.</summary>
    internal bool IsUsable => Problem is null && (Flags & BitmapFlags.InUse) == 0
        && (ExtraData.Length == 0 || (Flags & BitmapFlags.ExtraDataCompatible) != 0);

    internal StoredBitmapInfo ToInfo() => new(
        Name,
        GranularityBits is >= Qcow2Limits.MinimumGranularityBits and <= Qcow2Limits.MaximumGranularityBits
            ? 1L << GranularityBits : 0,
        (Flags & BitmapFlags.InUse) != 0,
        (Flags & BitmapFlags.Auto) != 0,
        ExtraData.Length > 0,
        Problem);

    internal static int LengthOf(int nameLength, int extraLength) => (FixedLength + nameLength + extraLength + 7) & ~7;

    /// <summary>The same entry, marked in use: nobody may take its bits for true.</summary>
    internal BitmapDirectoryEntry MarkedInUse()
    {
        var raw = (byte[])Raw.Clone();
        if (raw.Length > 0)
        {
            raw[FlagsOffset + 3] |= (byte)BitmapFlags.InUse;
        }

        return this with { Flags = Flags | BitmapFlags.InUse, Raw = raw };
    }

    /// <summary>Parses the whole directory; each entry is checked by itself.</summary>
    /// <exception cref="Qcow2Exception">The entries cannot be told apart.</exception>
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
        if (Problem is not null)
        {
            Raw.CopyTo(target);
            return;
        }

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

        var nameLength = BinaryPrimitives.ReadUInt16BigEndian(source[18..]);
        var extraLength = BinaryPrimitives.ReadUInt32BigEndian(source[20..]);
        if (nameLength is 0 or > Qcow2Limits.MaximumBitmapNameLength
            || extraLength > source.Length - FixedLength - nameLength
            || LengthOf(nameLength, (int)extraLength) > source.Length)
        {
            throw Qcow2Exception.Corrupt(
                $"the bitmap directory entry at {offset} has a name length of {nameLength} and an extra data length of "
                + $"{extraLength}, which is not possible");
        }

        var problem = FindProblem(source, clusterSize);
        return new BitmapDirectoryEntry
        {
            TableOffset = BinaryPrimitives.ReadInt64BigEndian(source),
            TableEntries = BinaryPrimitives.ReadInt32BigEndian(source[8..]),
            Flags = (BitmapFlags)BinaryPrimitives.ReadUInt32BigEndian(source[FlagsOffset..]),
            GranularityBits = source[17],
            ExtraData = source.Slice(FixedLength, (int)extraLength).ToArray(),
            NameBytes = source.Slice(FixedLength + (int)extraLength, nameLength).ToArray(),
            Problem = problem is null ? null : $"the bitmap directory entry at {offset} {problem}",
            Raw = problem is null ? [] : source[..LengthOf(nameLength, (int)extraLength)].ToArray(),
        };
    }

    private static string? FindProblem(ReadOnlySpan<byte> source, int clusterSize)
    {
        var tableOffset = BinaryPrimitives.ReadUInt64BigEndian(source);
        var tableEntries = BinaryPrimitives.ReadUInt32BigEndian(source[8..]);
        var flags = BinaryPrimitives.ReadUInt32BigEndian(source[FlagsOffset..]);
        return true switch
        {
            _ when source[16] != DirtyTrackingType => $"has the type {source[16]}; only {DirtyTrackingType} is known",
            _ when source[17] is < Qcow2Limits.MinimumGranularityBits or > Qcow2Limits.MaximumGranularityBits =>
                $"has a granularity of 2^{source[17]} bytes, which is not possible",
            _ when (flags & ~(uint)BitmapFlags.All) != 0 => $"has unknown flags: 0x{flags:x}",
            _ when tableEntries is 0 or > Qcow2Limits.MaximumBitmapTableEntries
                || tableEntries * (long)clusterSize > Math.Max(clusterSize, Qcow2Limits.MaximumBitmapBytes) =>
                $"has a table of {tableEntries} entries, which is not possible",
            _ when tableOffset is 0 or >= Qcow2Limits.MaximumHostOffset || tableOffset % (ulong)clusterSize != 0 =>
                $"has its table at 0x{tableOffset:x}, which is not the offset of a cluster",
            _ => null,
        };
    }
}
