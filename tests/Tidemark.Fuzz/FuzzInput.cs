using System.Buffers.Binary;

namespace Tidemark.Fuzz;

/// <summary>
/// Reads decisions from an input, so that a target can build structured data from plain bytes: a small change of the
/// bytes is a small change of the structure. Past the end every decision is the first one (0, false, empty).
/// </summary>
public ref struct FuzzInput(ReadOnlySpan<byte> bytes)
{
    private ReadOnlySpan<byte> _rest = bytes;

    /// <summary>Whether decisions are left.</summary>
    public readonly bool IsEmpty => _rest.IsEmpty;

    /// <summary>How many bytes are left.</summary>
    public readonly int Length => _rest.Length;

    /// <summary>The next byte.</summary>
    public byte Byte()
    {
        if (_rest.IsEmpty)
        {
            return 0;
        }

        var value = _rest[0];
        _rest = _rest[1..];
        return value;
    }

    /// <summary>The next decision of two.</summary>
    public bool Flag() => (Byte() & 1) != 0;

    /// <summary>A number from 0 to below <paramref name="count"/>.</summary>
    public int Choice(int count) => count <= 256 ? Byte() % count : (int)(Number32() % (uint)count);

    /// <summary>Four bytes as a number.</summary>
    public uint Number32()
    {
        Span<byte> buffer = stackalloc byte[4];
        Take(4).CopyTo(buffer);
        return BinaryPrimitives.ReadUInt32BigEndian(buffer);
    }

    /// <summary>
    /// A number that is often near a power of two, zero or the largest one: where lengths and offsets break.
    /// </summary>
    public ulong Interesting64()
    {
        var kind = Byte();
        return (kind & 7) switch
        {
            0 => (ulong)(kind >> 3),
            1 => 1UL << (Byte() & 63),
            2 => (1UL << (Byte() & 63)) - 1,
            3 => (1UL << (Byte() & 63)) + (ulong)(kind >> 3),
            4 => ulong.MaxValue - (ulong)(kind >> 3),
            5 => ((ulong)Number32() << 32) | Number32(),
            6 => Number32(),
            _ => (ulong)Number32() << 9,
        };
    }

    /// <summary>Up to <paramref name="count"/> bytes: fewer at the end of the input.</summary>
    public ReadOnlySpan<byte> Take(int count)
    {
        var taken = _rest[..Math.Min(count, _rest.Length)];
        _rest = _rest[taken.Length..];
        return taken;
    }
}
