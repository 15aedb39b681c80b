using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Tidemark.Qcow2.Metadata;

/// <summary>Reads and writes the entries of a refcount block, 1 to 64 bits wide (docs/interop/qcow2, "Host cluster
/// management"): below a byte, bit 0 is the least significant one; above, big endian.</summary>
internal readonly struct RefcountCodec(int order)
{
    internal ulong Maximum => order == 6 ? ulong.MaxValue : (1UL << (1 << order)) - 1;

    internal ulong Get(ReadOnlySpan<byte> block, int index) => order switch
    {
        3 => block[index],
        4 => BinaryPrimitives.ReadUInt16BigEndian(block[(index * 2)..]),
        5 => BinaryPrimitives.ReadUInt32BigEndian(block[(index * 4)..]),
        6 => BinaryPrimitives.ReadUInt64BigEndian(block[(index * 8)..]),
        _ => (ulong)(block[index >> (3 - order)] >> Shift(index)) & Maximum,
    };

    internal void Set(Span<byte> block, int index, ulong value)
    {
        switch (order)
        {
            case 3:
                block[index] = (byte)value;
                break;
            case 4:
                BinaryPrimitives.WriteUInt16BigEndian(block[(index * 2)..], (ushort)value);
                break;
            case 5:
                BinaryPrimitives.WriteUInt32BigEndian(block[(index * 4)..], (uint)value);
                break;
            case 6:
                BinaryPrimitives.WriteUInt64BigEndian(block[(index * 8)..], value);
                break;
            default:
                ref var cell = ref block[index >> (3 - order)];
                cell = (byte)((cell & ~((int)Maximum << Shift(index))) | ((int)value << Shift(index)));
                break;
        }
    }

    /// <summary>The first free entry from <paramref name="index"/> on, or -1.</summary>
    internal int FindZero(ReadOnlySpan<byte> block, int index, int count)
    {
        if (order == 4)
        {
            var found = MemoryMarshal.Cast<byte, ushort>(block)[index..count].IndexOf((ushort)0);
            return found < 0 ? -1 : index + found;
        }

        for (; index < count; index++)
        {
            if (Get(block, index) == 0)
            {
                return index;
            }
        }

        return -1;
    }

    /// <summary>How many entries from <paramref name="index"/> on are free, up to <paramref name="maximum"/>.</summary>
    internal int CountZeroes(ReadOnlySpan<byte> block, int index, int maximum)
    {
        if (order == 4)
        {
            var run = MemoryMarshal.Cast<byte, ushort>(block).Slice(index, maximum).IndexOfAnyExcept((ushort)0);
            return run < 0 ? maximum : run;
        }

        var count = 0;
        while (count < maximum && Get(block, index + count) == 0)
        {
            count++;
        }

        return count;
    }

    /// <summary>How many of the first entries are not free.</summary>
    internal int CountUsed(ReadOnlySpan<byte> block, int count)
    {
        if (order == 4)
        {
            return count - MemoryMarshal.Cast<byte, ushort>(block)[..count].Count((ushort)0);
        }

        var used = 0;
        for (var index = 0; index < count; index++)
        {
            used += Get(block, index) == 0 ? 0 : 1;
        }

        return used;
    }

    private int Shift(int index) => (index & ((8 >> order) - 1)) << order;
}
