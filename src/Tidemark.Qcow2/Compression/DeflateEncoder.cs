// Raw deflate (RFC 1951) of one cluster, made for speed and for QEMU's small window.
//
// Matches are looked for by the next four bytes: a table has, for each value of their hash, the last four places where
// that value was met, the newest first, 16 bits of each. Whatever the table says is only a hint: how far back a
// candidate lies is bounded by the window and by the cluster's start, and all of its bytes are compared. A short match
// waits for the one that begins a byte later, and gives way if that is longer. Where nothing matches for a while, the
// steps get longer: noise is passed over quickly, and matches behind it are found a few bytes late.

using System.Numerics;
using System.Runtime.CompilerServices;

namespace Tidemark.Qcow2.Compression;

/// <summary>Compresses clusters as raw deflate that reaches back less than 4 KiB. Not thread-safe.</summary>
internal sealed class DeflateEncoder
{
    /// <summary>How far back a match may reach: a window of 4 KiB, less the longest match and the bytes that an
    /// encoder with such a window looks ahead, as zlib has it.</summary>
    internal const int LongestDistance = 4096 - 262;

    private const int HashBits = 12, Ways = 4, WayBits = 16;
    private const int ShortestMatch = 4, LazyLength = 32, NiceLength = 96, LastBytes = 12;
    private const int PatienceBits = 6, LongestStep = 16;

    private readonly ulong[] _places = new ulong[1 << HashBits];
    private readonly DeflateBlock _block = new();

    /// <summary>Compresses.</summary>
    /// <param name="source">All of it.</param>
    /// <param name="target">Takes the stream.</param>
    /// <returns>How many bytes that has; zero when it does not fit.</returns>
    internal unsafe int Encode(ReadOnlySpan<byte> source, Span<byte> target)
    {
        Array.Clear(_places);
        _block.Clear();
        BitWriter writer = new(target);
        var blockStart = 0;
        fixed (byte* bytes = source)
        {
            Cursor cursor = new(bytes, source.Length);
            var end = source.Length - LastBytes;
            while (cursor.Position < end)
            {
                Step(ref cursor, end);
                if (_block.Symbols + cursor.Pending >= DeflateBlock.FullSymbols)
                {
                    AddLiterals(ref cursor, cursor.Position);
                    var whole = source.Slice(blockStart, _block.Length);
                    blockStart += whole.Length;
                    if (!_block.TryWrite(whole, isLast: false, ref writer))
                    {
                        return 0;
                    }

                    _block.Clear();
                }
            }

            AddLiterals(ref cursor, source.Length);
        }

        return _block.TryWrite(source[blockStart..], isLast: true, ref writer) ? writer.Finish() : 0;
    }

    private void AddLiterals(ref Cursor cursor, int end)
    {
        end = Math.Min(end, cursor.Length);
        if (end > cursor.Done)
        {
            _block.Add(end - cursor.Done, 0, 0);
            cursor.Done = end;
        }
    }

    // One match with the literals before it, or a step over what matches nothing.
    private unsafe void Step(ref Cursor cursor, int end)
    {
        var position = cursor.Position;
        var length = Find(cursor.Bytes, position, cursor.Length, out var distance);
        if (length == 0)
        {
            cursor.Position += Math.Min(LongestStep, 1 + ((position - cursor.Done) >> PatienceBits));
            return;
        }

        var entered = position + 1;
        while (length < LazyLength && position + 1 < end)
        {
            entered = position + 2;
            var later = Find(cursor.Bytes, position + 1, cursor.Length, out var laterDistance);
            if (later <= length)
            {
                break;
            }

            (position, length, distance) = (position + 1, later, laterDistance);
        }

        _block.Add(position - cursor.Done, length, distance);
        cursor.Position = cursor.Done = position + length;

        // What a long match covers has been entered once already, at its source.
        var last = Math.Min(cursor.Position, Math.Min(end, entered + LazyLength));
        for (; entered < last; entered++)
        {
            ref var place = ref PlaceOf(Unsafe.ReadUnaligned<uint>(cursor.Bytes + entered));
            place = (place << WayBits) | (ushort)entered;
        }
    }

    // The longest match for a position, which is entered. At least LastBytes bytes follow.
    private unsafe int Find(byte* bytes, int position, int length, out int distance)
    {
        var here = bytes + position;
        var word = Unsafe.ReadUnaligned<uint>(here);
        ref var place = ref PlaceOf(word);
        var places = place;
        place = (places << WayBits) | (ushort)position;
        var limit = (uint)Math.Min(position, LongestDistance);
        var most = Math.Min(DeflateBlock.LongestMatch, length - position);
        var best = ShortestMatch - 1;
        distance = 0;
        for (var way = 0; way < Ways; way++, places >>= WayBits)
        {
            var back = (uint)(ushort)(position - (int)(places & ushort.MaxValue));
            if (back - 1 >= limit)
            {
                // None, or out of reach; and those behind it are older.
                break;
            }

            var there = here - back;
            if (Unsafe.ReadUnaligned<uint>(there) != word || (best < most && there[best] != here[best]))
            {
                continue;
            }

            var found = Compare(here, there, most);
            if (found > best)
            {
                (best, distance) = (found, (int)back);
                if (found >= NiceLength || found == most)
                {
                    break;
                }
            }
        }

        return distance == 0 ? 0 : best;
    }

    private ref ulong PlaceOf(uint word) => ref _places[(word * 0x9e37_79b1) >> (32 - HashBits)];

    // How many bytes are equal, the first four of which are known to be.
    private static unsafe int Compare(byte* here, byte* there, int most)
    {
        var length = ShortestMatch;
        for (; length + sizeof(ulong) <= most; length += sizeof(ulong))
        {
            var difference = Unsafe.ReadUnaligned<ulong>(here + length) ^ Unsafe.ReadUnaligned<ulong>(there + length);
            if (difference != 0)
            {
                var equal = BitConverter.IsLittleEndian
                    ? BitOperations.TrailingZeroCount(difference)
                    : BitOperations.LeadingZeroCount(difference);
                return length + (equal >> 3);
            }
        }

        while (length < most && here[length] == there[length])
        {
            length++;
        }

        return length;
    }

    // Where the encoder is, and up to where literals and matches have been handed over.
    private unsafe struct Cursor(byte* bytes, int length)
    {
        internal readonly byte* Bytes = bytes;
        internal readonly int Length = length;
        internal int Position;
        internal int Done;

        internal readonly int Pending => Position - Done;
    }
}
