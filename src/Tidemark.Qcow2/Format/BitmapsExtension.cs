using System.Buffers.Binary;

namespace Tidemark.Qcow2.Format;

/// <summary>Where the bitmap directory lies (docs/interop/qcow2, "Bitmaps extension").</summary>
internal readonly record struct BitmapsExtension(uint Count, long DirectoryLength, long DirectoryOffset)
{
    internal const int Size = 24;

    internal static BitmapsExtension ReadFrom(ReadOnlySpan<byte> data, int clusterSize)
    {
        if (data.Length != Size)
        {
            throw Qcow2Exception.Corrupt($"the bitmaps extension has {data.Length} bytes, not {Size}");
        }

        var count = BinaryPrimitives.ReadUInt32BigEndian(data);
        var length = BinaryPrimitives.ReadUInt64BigEndian(data[8..]);
        var offset = BinaryPrimitives.ReadUInt64BigEndian(data[16..]);
        if (BinaryPrimitives.ReadUInt32BigEndian(data[4..]) != 0)
        {
            throw Qcow2Exception.Corrupt("the reserved field of the bitmaps extension is not zero");
        }

        if (count is 0 or > Qcow2Limits.MaximumBitmaps)
        {
            throw Qcow2Exception.Corrupt(
                $"the bitmaps extension counts {count} bitmaps; 1 to {Qcow2Limits.MaximumBitmaps} are possible");
        }

        if (length is 0 or > Qcow2Limits.MaximumBitmapDirectoryBytes)
        {
            throw Qcow2Exception.Corrupt(
                $"the bitmap directory has {length} bytes; 1 to {Qcow2Limits.MaximumBitmapDirectoryBytes} are "
                + "possible");
        }

        if (length > count * (ulong)Qcow2Limits.MaximumBitmapEntryBytes)
        {
            throw Qcow2Exception.Corrupt(
                $"the bitmap directory has {length} bytes for {count} bitmaps; an entry has at most "
                + $"{Qcow2Limits.MaximumBitmapEntryBytes}");
        }

        if (offset is 0 or >= Qcow2Limits.MaximumHostOffset || offset % (ulong)clusterSize != 0)
        {
            throw Qcow2Exception.Corrupt($"the bitmap directory's offset 0x{offset:x} is not that of a cluster");
        }

        return new BitmapsExtension(count, (long)length, (long)offset);
    }

    internal HeaderExtension ToExtension()
    {
        var data = new byte[Size];
        BinaryPrimitives.WriteUInt32BigEndian(data, Count);
        BinaryPrimitives.WriteInt64BigEndian(data.AsSpan(8), DirectoryLength);
        BinaryPrimitives.WriteInt64BigEndian(data.AsSpan(16), DirectoryOffset);
        return new HeaderExtension(HeaderExtension.Bitmaps, data);
    }
}
