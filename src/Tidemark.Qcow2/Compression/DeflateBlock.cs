using System.Numerics;

namespace Tidemark.Qcow2.Compression;

/// <summary>
/// One block of a deflate stream: literals and matches are gathered, then written with codes made for them, or as they
/// are where that is shorter (RFC 1951, 3.2.3 to 3.2.7).
/// </summary>
internal sealed class DeflateBlock
{
    /// <summary>The longest match that the format has.</summary>
    internal const int LongestMatch = 258;

    /// <summary>A block ends when it has so many symbols, so that its codes stay near its content.</summary>
    internal const int FullSymbols = 16 * 1024;

    private const int LiteralSymbols = 286, DistanceSymbols = 30, LengthSymbols = 19;
    private const int EndOfBlock = 256, FirstLength = 257, LastLength = 285, LongestLengthWord = 7;
    private const int HeadBits = 3, DynamicKind = 2, LargestStored = 65535;
    private const int RepeatLast = 16, RepeatZero = 17, RepeatZeroLong = 18;

    // A run of literals can be added in one piece, and each match is at least one symbol.
    private readonly Sequence[] _sequences = new Sequence[FullSymbols + 2];
    private readonly int[] _literalCounts = new int[LiteralSymbols];
    private readonly int[] _distanceCounts = new int[DistanceSymbols];
    private readonly byte[] _literalLengths = new byte[LiteralSymbols];
    private readonly byte[] _distanceLengths = new byte[DistanceSymbols];
    private readonly ushort[] _literalWords = new ushort[LiteralSymbols];
    private readonly ushort[] _distanceWords = new ushort[DistanceSymbols];

    // The lengths of both codes, as runs: a symbol, and above it the number that its extra bits hold.
    private readonly ushort[] _runs = new ushort[LiteralSymbols + DistanceSymbols];
    private readonly int[] _runCounts = new int[LengthSymbols];
    private readonly byte[] _runLengths = new byte[LengthSymbols];
    private readonly ushort[] _runWords = new ushort[LengthSymbols];
    private int _runsUsed;
    private int _used;

    /// <summary>How many symbols it has.</summary>
    internal int Symbols { get; private set; }

    /// <summary>How many bytes it stands for.</summary>
    internal int Length { get; private set; }

    // The order in which the lengths of the code for lengths are written.
    private static ReadOnlySpan<byte> LengthOrder =>
        [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

    /// <summary>Empties it.</summary>
    internal void Clear() => (_used, Symbols, Length) = (0, 0, 0);

    /// <summary>Adds literals, and behind them a match; a match of length zero is none.</summary>
    internal void Add(int literals, int length, int distance)
    {
        _sequences[_used++] = new Sequence(literals, (ushort)length, (ushort)distance);
        Symbols += literals + (length > 0 ? 1 : 0);
        Length += literals + length;
    }

    /// <summary>Writes the block.</summary>
    /// <param name="source">What it stands for.</param>
    /// <param name="isLast">Whether the stream ends with it.</param>
    /// <param name="writer">Takes it.</param>
    /// <returns>False when it does not fit.</returns>
    internal bool TryWrite(ReadOnlySpan<byte> source, bool isLast, ref BitWriter writer)
    {
        Count(source);
        HuffmanCode.Make(_literalCounts, HuffmanCode.LongestWord, _literalLengths, _literalWords);
        HuffmanCode.Make(_distanceCounts, HuffmanCode.LongestWord, _distanceLengths, _distanceWords);
        var (literals, distances) = (UsedOf(_literalLengths, FirstLength), UsedOf(_distanceLengths, 1));
        GatherRuns(literals, distances);
        HuffmanCode.Make(_runCounts, LongestLengthWord, _runLengths, _runWords);
        var lengths = LengthSymbols;
        while (lengths > 4 && _runLengths[LengthOrder[lengths - 1]] == 0)
        {
            lengths--;
        }

        var bits = MeasureCodes(lengths) + MeasureSymbols();
        var storedBits = HeadBits + 7 + 32 + (source.Length * 8L);
        if (storedBits <= bits && source.Length <= LargestStored)
        {
            return TryWriteStored(source, isLast, storedBits, ref writer);
        }

        if (!writer.HasRoomFor(bits))
        {
            return false;
        }

        writer.Add((isLast ? 1u : 0) | (DynamicKind << 1), HeadBits);
        WriteCodes(literals, distances, lengths, ref writer);
        WriteSymbols(source, ref writer);
        return true;
    }

    private static bool TryWriteStored(ReadOnlySpan<byte> source, bool isLast, long bits, ref BitWriter writer)
    {
        if (!writer.HasRoomFor(bits))
        {
            return false;
        }

        var length = (ushort)source.Length;
        writer.Add(isLast ? 1u : 0, HeadBits);
        writer.AddBytes([(byte)length, (byte)(length >> 8), (byte)~length, (byte)(~length >> 8)]);
        writer.AddBytes(source);
        return true;
    }

    private void Count(ReadOnlySpan<byte> source)
    {
        Array.Clear(_literalCounts);
        Array.Clear(_distanceCounts);
        _literalCounts[EndOfBlock] = 1;
        var at = 0;
        foreach (ref readonly var sequence in _sequences.AsSpan(0, _used))
        {
            foreach (var literal in source.Slice(at, sequence.Literals))
            {
                _literalCounts[literal]++;
            }

            at += sequence.Literals + sequence.Length;
            if (sequence.Length > 0)
            {
                _literalCounts[LengthSymbol(sequence.Length, out _)]++;
                _distanceCounts[DistanceSymbol(sequence.Distance, out _)]++;
            }
        }
    }

    private static int UsedOf(byte[] lengths, int atLeast)
    {
        var used = lengths.Length;
        while (used > atLeast && lengths[used - 1] == 0)
        {
            used--;
        }

        return used;
    }

    private void GatherRuns(int literals, int distances)
    {
        Array.Clear(_runCounts);
        _runsUsed = 0;
        Span<byte> all = stackalloc byte[LiteralSymbols + DistanceSymbols];
        _literalLengths.AsSpan(0, literals).CopyTo(all);
        _distanceLengths.AsSpan(0, distances).CopyTo(all[literals..]);
        all = all[..(literals + distances)];
        while (!all.IsEmpty)
        {
            var run = 1;
            while (run < all.Length && all[run] == all[0])
            {
                run++;
            }

            AddRun(all[0], run);
            all = all[run..];
        }
    }

    private void AddRun(byte length, int run)
    {
        if (length != 0)
        {
            AddRunSymbol(length, 0);
            run--;
        }

        while (run >= 3)
        {
            var most = length != 0 ? 6 : run >= 11 ? 138 : 10;
            var part = Math.Min(run, most);
            AddRunSymbol(
                length != 0 ? RepeatLast : part >= 11 ? RepeatZeroLong : RepeatZero, part >= 11 ? part - 11 : part - 3);
            run -= part;
        }

        for (; run > 0; run--)
        {
            AddRunSymbol(length, 0);
        }
    }

    private void AddRunSymbol(int symbol, int extra)
    {
        _runs[_runsUsed++] = (ushort)(symbol | (extra << 8));
        _runCounts[symbol]++;
    }

    private static int RunExtraBits(int symbol) => symbol switch
    {
        RepeatLast => 2,
        RepeatZero => 3,
        RepeatZeroLong => 7,
        _ => 0,
    };

    private long MeasureCodes(int lengths)
    {
        long bits = HeadBits + 14 + (3 * lengths);
        for (var index = 0; index < _runsUsed; index++)
        {
            var symbol = _runs[index] & 0xff;
            bits += _runLengths[symbol] + RunExtraBits(symbol);
        }

        return bits;
    }

    private long MeasureSymbols()
    {
        long bits = 0;
        for (var symbol = 0; symbol < LiteralSymbols; symbol++)
        {
            var extra = symbol is < FirstLength + 8 or LastLength ? 0 : (symbol - FirstLength - 4) / 4;
            bits += (long)_literalCounts[symbol] * (_literalLengths[symbol] + extra);
        }

        for (var symbol = 0; symbol < DistanceSymbols; symbol++)
        {
            var extra = symbol < 4 ? 0 : (symbol - 2) / 2;
            bits += (long)_distanceCounts[symbol] * (_distanceLengths[symbol] + extra);
        }

        return bits;
    }

    private void WriteCodes(int literals, int distances, int lengths, ref BitWriter writer)
    {
        writer.Add((uint)(literals - FirstLength), 5);
        writer.Add((uint)(distances - 1), 5);
        writer.Add((uint)(lengths - 4), 4);
        writer.Flush();
        for (var index = 0; index < lengths; index++)
        {
            writer.Add(_runLengths[LengthOrder[index]], 3);
            writer.Flush();
        }

        for (var index = 0; index < _runsUsed; index++)
        {
            var symbol = _runs[index] & 0xff;
            writer.Add(_runWords[symbol], _runLengths[symbol]);
            writer.Add((uint)(_runs[index] >> 8), RunExtraBits(symbol));
            writer.Flush();
        }
    }

    private void WriteSymbols(ReadOnlySpan<byte> source, ref BitWriter writer)
    {
        var words = _literalWords;
        var lengths = _literalLengths;
        var at = 0;
        foreach (ref readonly var sequence in _sequences.AsSpan(0, _used))
        {
            var literals = source.Slice(at, sequence.Literals);
            at += sequence.Literals + sequence.Length;
            for (; literals.Length >= 3; literals = literals[3..])
            {
                writer.Add(words[literals[0]], lengths[literals[0]]);
                writer.Add(words[literals[1]], lengths[literals[1]]);
                writer.Add(words[literals[2]], lengths[literals[2]]);
                writer.Flush();
            }

            foreach (var literal in literals)
            {
                writer.Add(words[literal], lengths[literal]);
                writer.Flush();
            }

            if (sequence.Length > 0)
            {
                var symbol = LengthSymbol(sequence.Length, out var extra);
                writer.Add(words[symbol], lengths[symbol]);
                writer.Add(extra.Value, extra.Bits);
                symbol = DistanceSymbol(sequence.Distance, out extra);
                writer.Add(_distanceWords[symbol], _distanceLengths[symbol]);
                writer.Add(extra.Value, extra.Bits);
                writer.Flush();
            }
        }

        writer.Add(words[EndOfBlock], lengths[EndOfBlock]);
        writer.Flush();
    }

    // Eight symbols for one length each, then four for each power of two.
    private static int LengthSymbol(int length, out (uint Value, int Bits) extra)
    {
        var value = (uint)length - 3;
        if (value < 8 || length == LongestMatch)
        {
            extra = default;
            return value < 8 ? FirstLength + (int)value : LastLength;
        }

        var bits = BitOperations.Log2(value) - 2;
        extra = (value & ((1u << bits) - 1), bits);
        return FirstLength + (4 * (bits + 1)) + (int)((value >> bits) & 3);
    }

    // Four symbols for one distance each, then two for each power of two.
    private static int DistanceSymbol(int distance, out (uint Value, int Bits) extra)
    {
        var value = (uint)distance - 1;
        if (value < 4)
        {
            extra = default;
            return (int)value;
        }

        var bits = BitOperations.Log2(value) - 1;
        extra = (value & ((1u << bits) - 1), bits);
        return (2 * (bits + 1)) + (int)((value >> bits) & 1);
    }

    private readonly record struct Sequence(int Literals, ushort Length, ushort Distance);
}
