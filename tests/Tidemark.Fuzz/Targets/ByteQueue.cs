using System.Buffers.Binary;

namespace Tidemark.Fuzz.Targets;

/// <summary>Bytes in the order in which they came, in one array that stays: no allocation once it is warm.</summary>
internal sealed class ByteQueue
{
    private byte[] _bytes = new byte[16 << 10];
    private int _start;
    private int _end;

    internal int Count => _end - _start;

    internal ReadOnlySpan<byte> Waiting => _bytes.AsSpan(_start, _end - _start);

    internal void Clear() => _start = _end = 0;

    internal void Add(ReadOnlySpan<byte> bytes) => bytes.CopyTo(Room(bytes.Length));

    /// <summary>A number of <paramref name="width"/> bytes, big-endian.</summary>
    internal void AddNumber(ulong number, int width)
    {
        Span<byte> whole = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64BigEndian(whole, number);
        Add(whole[^width..]);
    }

    /// <summary>Room at the end for <paramref name="count"/> bytes, which count as added.</summary>
    internal Span<byte> Room(int count)
    {
        if (_start == _end)
        {
            Clear();
        }

        if (_end + count > _bytes.Length)
        {
            Waiting.CopyTo(_bytes);
            _end -= _start;
            _start = 0;
            if (_end + count > _bytes.Length)
            {
                Array.Resize(ref _bytes, Math.Max(_bytes.Length * 2, _end + count));
            }
        }

        var room = _bytes.AsSpan(_end, count);
        _end += count;
        return room;
    }

    /// <summary>Takes up to as many bytes as fit in the target.</summary>
    internal int Take(Span<byte> target)
    {
        var count = Math.Min(target.Length, Count);
        _bytes.AsSpan(_start, count).CopyTo(target);
        _start += count;
        return count;
    }

    /// <summary>Throws bytes away, if as many are there.</summary>
    internal bool TryDrop(int count)
    {
        if (count < 0 || Count < count)
        {
            return false;
        }

        _start += count;
        return true;
    }
}
