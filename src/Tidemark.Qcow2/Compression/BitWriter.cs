using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Tidemark.Qcow2.Compression;

/// <summary>Bits, the lowest first, into a span: deflate's order. Whoever writes has asked <see cref="HasRoomFor"/>
/// before.</summary>
internal ref struct BitWriter(Span<byte> target)
{
    // A flush stores a whole word, of which only the full bytes count.
    private const int Slack = sizeof(ulong);

    private readonly Span<byte> _target = target;
    private ulong _bits;
    private int _count;
    private int _position;

    /// <summary>Whether so many bits fit, whatever has been added before.</summary>
    internal readonly bool HasRoomFor(long bits) => _position + ((bits + _count + 7) / 8) + Slack <= _target.Length;

    /// <summary>Adds bits: at most 56 between two flushes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Add(uint value, int count)
    {
        _bits |= (ulong)value << _count;
        _count += count;
    }

    /// <summary>Writes the bytes that are full.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Flush()
    {
        // HasRoomFor left a word of room.
        Unsafe.WriteUnaligned(
            ref Unsafe.Add(ref MemoryMarshal.GetReference(_target), _position),
            BitConverter.IsLittleEndian ? _bits : System.Buffers.Binary.BinaryPrimitives.ReverseEndianness(_bits));
        _position += _count >> 3;
        _bits >>= _count & ~7;
        _count &= 7;
    }

    /// <summary>Adds whole bytes, behind what is rounded up to a byte.</summary>
    internal void AddBytes(scoped ReadOnlySpan<byte> bytes)
    {
        Finish();
        bytes.CopyTo(_target[_position..]);
        _position += bytes.Length;
    }

    /// <summary>Rounds up to a byte.</summary>
    /// <returns>How many bytes have been written.</returns>
    internal int Finish()
    {
        Flush();
        if (_count > 0)
        {
            _count = 8;
            Flush();
        }

        return _position;
    }
}
