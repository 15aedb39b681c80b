// A prefix code for given frequencies, none of its words longer than a limit: deflate's (RFC 1951, 3.2.2).
//
// The symbols that occur are sorted by frequency and joined pairwise, the two rarest first: those joined become new
// nodes in order of their weight, so two queues do. The depth of a leaf is the length of its word. Words that would be
// too long are cut to the limit, and the sum of 2^-length, which must be 1 for the code to be complete, is made 1 again
// by lengthening others, the longest possible first. The rarest symbols then get the longest words.

namespace Tidemark.Qcow2.Compression;

/// <summary>Makes deflate's prefix codes.</summary>
internal static class HuffmanCode
{
    /// <summary>The longest word of all codes.</summary>
    internal const int LongestWord = 15;

    private const int MostSymbols = 288;
    private const int SymbolBits = 9;

    /// <summary>Makes a code.</summary>
    /// <param name="frequencies">How often each symbol occurs; fewer than 2 to the 22nd in all. At least two symbols
    /// occur afterwards: a code of one word would be incomplete.</param>
    /// <param name="longest">The limit of a word, in bits.</param>
    /// <param name="lengths">Takes the length of each symbol's word; zero for those that do not occur.</param>
    /// <param name="words">Takes the words, the first bit lowest.</param>
    internal static void Make(Span<int> frequencies, int longest, Span<byte> lengths, Span<ushort> words)
    {
        for (var symbol = 0; CountUsed(frequencies) < 2; symbol++)
        {
            // A symbol that never comes costs its place in the table, no more.
            frequencies[symbol] = Math.Max(1, frequencies[symbol]);
        }

        Span<uint> sorted = stackalloc uint[MostSymbols];
        var used = 0;
        for (var symbol = 0; symbol < frequencies.Length; symbol++)
        {
            if (frequencies[symbol] > 0)
            {
                sorted[used++] = ((uint)frequencies[symbol] << SymbolBits) | (uint)symbol;
            }
        }

        sorted = sorted[..used];
        sorted.Sort();
        Span<int> counts = stackalloc int[LongestWord + 1];
        counts.Clear();
        CountLengths(sorted, longest, counts);
        Complete(longest, counts);
        lengths.Clear();
        var next = 0;
        for (var length = longest; length > 0; length--)
        {
            for (var step = 0; step < counts[length]; step++)
            {
                lengths[(int)(sorted[next++] & ((1 << SymbolBits) - 1))] = (byte)length;
            }
        }

        MakeWords(counts, lengths, words);
    }

    private static int CountUsed(ReadOnlySpan<int> frequencies)
    {
        var used = 0;
        foreach (var frequency in frequencies)
        {
            used += frequency > 0 ? 1 : 0;
        }

        return used;
    }

    // How many words there are of each length; those over the limit count as at it.
    private static void CountLengths(ReadOnlySpan<uint> sorted, int longest, Span<int> counts)
    {
        // Leaves first, then the joined nodes in the order of their making, which is that of their weight.
        Span<int> weights = stackalloc int[2 * MostSymbols];
        Span<int> parents = stackalloc int[2 * MostSymbols];
        var leaves = sorted.Length;
        for (var leaf = 0; leaf < leaves; leaf++)
        {
            weights[leaf] = (int)(sorted[leaf] >> SymbolBits);
        }

        var (nextLeaf, nextNode, end) = (0, leaves, (2 * leaves) - 1);
        for (var node = leaves; node < end; node++)
        {
            weights[node] = 0;
            for (var child = 0; child < 2; child++)
            {
                var takesLeaf = nextLeaf < leaves && (nextNode >= node || weights[nextLeaf] <= weights[nextNode]);
                var taken = takesLeaf ? nextLeaf++ : nextNode++;
                parents[taken] = node;
                weights[node] += weights[taken];
            }
        }

        // Depths, in place of the weights: a parent comes behind its children.
        weights[end - 1] = 0;
        for (var node = end - 2; node >= 0; node--)
        {
            weights[node] = weights[parents[node]] + 1;
            if (node < leaves)
            {
                counts[Math.Min(weights[node], longest)]++;
            }
        }
    }

    private static void Complete(int longest, Span<int> counts)
    {
        var sum = 0;
        for (var length = 1; length <= longest; length++)
        {
            sum += counts[length] << (longest - length);
        }

        // Each step takes a word of the limit's length away, and puts two words in place of a shorter one: together one
        // unit less.
        for (; sum > 1 << longest; sum--)
        {
            var length = longest - 1;
            while (counts[length] == 0)
            {
                length--;
            }

            counts[longest]--;
            counts[length]--;
            counts[length + 1] += 2;
        }
    }

    private static void MakeWords(ReadOnlySpan<int> counts, ReadOnlySpan<byte> lengths, Span<ushort> words)
    {
        Span<uint> next = stackalloc uint[LongestWord + 2];
        uint word = 0;
        for (var length = 1; length <= LongestWord; length++)
        {
            next[length] = word;
            word = (word + (uint)counts[length]) << 1;
        }

        for (var symbol = 0; symbol < lengths.Length; symbol++)
        {
            int length = lengths[symbol];
            words[symbol] = length == 0 ? (ushort)0 : Reverse(next[length]++, length);
        }
    }

    private static ushort Reverse(uint word, int length)
    {
        uint reversed = 0;
        for (var bit = 0; bit < length; bit++)
        {
            reversed = (reversed << 1) | ((word >> bit) & 1);
        }

        return (ushort)reversed;
    }
}
