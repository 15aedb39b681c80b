using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;

namespace Tidemark.Blocks.Bitmaps;

// The bits as a whole, as words in memory and as bytes in a file: what images, transactions and jobs copy.
public sealed partial class DirtyBitmap
{
    /// <summary>Bytes of the bits in a file: one bit a granule, bit 0 of byte 0 first, the last byte filled up with
    /// zeroes.</summary>
    public long ByteCount => (GranuleCount + 7) / 8;

    /// <summary>A copy of the bits: one bit a granule, bit 0 of word 0 first.</summary>
    public ulong[] CopyWords()
    {
        lock (_gate)
        {
            return [.. _words];
        }
    }

    /// <summary>Adds bits given as words, laid out as <see cref="CopyWords"/> returns them.</summary>
    /// <exception cref="ArgumentException">The number of words is not this bitmap's.</exception>
    public void MergeWords(ReadOnlySpan<ulong> words)
    {
        if (words.Length != _words.Length)
        {
            throw new ArgumentException($"{words.Length} words given for a bitmap of {_words.Length}");
        }

        lock (_gate)
        {
            long count = 0;
            for (var index = 0; index < _words.Length; index++)
            {
                var word = _words[index] | words[index];
                if (index == _words.Length - 1 && (GranuleCount & 63) != 0)
                {
                    word &= (1UL << (int)(GranuleCount & 63)) - 1;
                }

                _words[index] = word;
                count += BitOperations.PopCount(word);
            }

            _setCount = count;
        }
    }

    /// <summary>
    /// Puts back bits that <see cref="CopyWords"/> returned: how a transaction undoes a clear or a merge.
    /// </summary>
    public void RestoreWords(ReadOnlySpan<ulong> words)
    {
        lock (_gate)
        {
            Array.Clear(_words);
            _setCount = 0;
            MergeWords(words);
        }
    }

    /// <summary>Adds bits as they stand in a file (<see cref="ByteCount"/>), from a part of it.</summary>
    /// <param name="first">The first byte's place among all the bytes; a multiple of 8.</param>
    /// <param name="bytes">The bytes. Bits past the last granule are ignored.</param>
    /// <exception cref="ArgumentOutOfRangeException">The part is not inside the bitmap, or does not begin at a
    /// multiple of 8.</exception>
    public void MergeBytes(long first, ReadOnlySpan<byte> bytes)
    {
        CheckBytes(first, bytes.Length);
        lock (_gate)
        {
            // From one byte that is not zero to the next: bits are only added, so nothing is lost by passing over
            // zeroes, and a page of the bitmap that gets no mark is never touched and takes no memory.
            for (var start = 0; start < bytes.Length;)
            {
                var clean = bytes[start..].IndexOfAnyExcept((byte)0);
                if (clean < 0)
                {
                    return;
                }

                start = MergeRun(first, bytes, (start + clean) & ~7);
            }
        }
    }

    /// <summary>Copies a part of the bits as they stand in a file (<see cref="ByteCount"/>).</summary>
    /// <param name="first">The first byte's place among all the bytes; a multiple of 8.</param>
    /// <param name="target">Takes the bytes.</param>
    /// <exception cref="ArgumentOutOfRangeException">The part is not inside the bitmap, or does not begin at a
    /// multiple of 8.</exception>
    public void CopyBytes(long first, Span<byte> target)
    {
        CheckBytes(first, target.Length);
        lock (_gate)
        {
            var words = _words.AsSpan((int)(first / 8));
            if (BitConverter.IsLittleEndian)
            {
                MemoryMarshal.AsBytes(words)[..target.Length].CopyTo(target);
                return;
            }

            for (var index = 0; index < target.Length; index++)
            {
                target[index] = (byte)(words[index >> 3] >> ((index & 7) * 8));
            }
        }
    }

    // The words from a byte on, up to one that adds nothing. Returns the byte behind that one.
    private int MergeRun(long first, ReadOnlySpan<byte> bytes, int start)
    {
        var target = _words.AsSpan((int)(first / 8));
        var beyond = (GranuleCount & 63) == 0 ? 0 : ulong.MaxValue << (int)(GranuleCount & 63);
        while (start < bytes.Length)
        {
            var rest = bytes[start..];
            ref var old = ref target[start / 8];
            start += 8;
            var word = rest.Length >= 8 ? BinaryPrimitives.ReadUInt64LittleEndian(rest) : ReadShort(rest);
            word &= start / 8 == target.Length ? ~beyond : ulong.MaxValue;
            if (word == 0)
            {
                break;
            }

            _setCount += BitOperations.PopCount(word & ~old);
            old |= word;
        }

        return start;
    }

    private static ulong ReadShort(ReadOnlySpan<byte> bytes)
    {
        ulong word = 0;
        for (var index = 0; index < bytes.Length; index++)
        {
            word |= (ulong)bytes[index] << (index * 8);
        }

        return word;
    }

    private void CheckBytes(long first, int length)
    {
        if (first < 0 || (first & 7) != 0 || length > ByteCount - first)
        {
            throw new ArgumentOutOfRangeException(
                nameof(first), $"bytes {first}+{length} are no part of the {ByteCount} bytes of bitmap '{Name}'");
        }
    }
}
