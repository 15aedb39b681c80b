using Tidemark.Qcow2.Compression;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Qcow2.Tests.Compression;

/// <summary>The encoder against the runtime's zlib, which decodes with QEMU's window of 4 KiB.</summary>
public sealed class DeflateEncoderTests
{
    private const int NoFlush = 0;

    // Pieces smaller than the window: what reaches back further than that is then no longer there.
    private const int PieceLength = 512;

    [Fact]
    public void WhatIsWrittenDecodesWithAWindowOf4KiB() => TestSeed.Run(random =>
    {
        DeflateEncoder encoder = new();
        for (var round = 0; round < 300; round++)
        {
            var cluster = Content(random, random.Next(4) == 0 ? random.Next(1, 300_000) : 1 << random.Next(9, 18));
            var target = new byte[cluster.Length + 1024];
            var length = encoder.Encode(cluster, target);
            Assert.True(length > 0);
            Assert.Equal(cluster, Inflate(target.AsSpan(0, length), cluster.Length));
        }
    });

    [Fact]
    public void TheLargestClusterDecodes() => TestSeed.Run(random =>
    {
        var cluster = Content(random, 2 << 20);
        var target = new byte[cluster.Length + 4096];
        var length = new DeflateEncoder().Encode(cluster, target);
        Assert.Equal(cluster, Inflate(target.AsSpan(0, length), cluster.Length));
    });

    [Fact]
    public void ItWritesInsideOfItsTargetAndSaysZeroWhenThatIsTooSmall() => TestSeed.Run(random =>
    {
        const byte Mark = 0xa5;
        const int Margin = 64;
        DeflateEncoder encoder = new();
        for (var round = 0; round < 300; round++)
        {
            var cluster = Content(random, 1 << random.Next(9, 17));
            var room = random.Next(3) == 0 ? cluster.Length - 1 : random.Next(cluster.Length);
            var memory = new byte[room + (2 * Margin)];
            memory.AsSpan().Fill(Mark);
            var length = encoder.Encode(cluster, memory.AsSpan(Margin, room));
            Assert.InRange(length, 0, room);
            Assert.False(memory.AsSpan(0, Margin).ContainsAnyExcept(Mark));
            Assert.False(memory.AsSpan(Margin + room).ContainsAnyExcept(Mark));
            if (length > 0)
            {
                Assert.Equal(cluster, Inflate(memory.AsSpan(Margin, length), cluster.Length));
            }
        }
    });

    [Fact]
    public void WordsAreCompleteAndWithinTheirLimit() => TestSeed.Run(random =>
    {
        for (var round = 0; round < 2000; round++)
        {
            var longest = random.Next(2) == 0 ? 7 : HuffmanCode.LongestWord;
            var frequencies = new int[random.Next(2, longest == 7 ? 20 : 287)];
            var (before, last) = (1, 1);
            foreach (ref var frequency in frequencies.AsSpan())
            {
                // Numbers like Fibonacci's make the longest words.
                frequency = random.Next(3) == 0 ? 0 : random.Next(2) == 0 ? random.Next(100) : last;
                (before, last) = last > 100_000 ? (1, 1) : (last, before + last);
            }

            var (lengths, words) = (new byte[frequencies.Length], new ushort[frequencies.Length]);
            HuffmanCode.Make(frequencies, longest, lengths, words);
            Assert.All(lengths, length => Assert.InRange(length, 0, longest));
            Assert.All(frequencies.Zip(lengths), pair => Assert.Equal(pair.First > 0, pair.Second > 0));
            Assert.Equal(1 << longest, lengths.Sum(length => length == 0 ? 0 : 1 << (longest - length)));
        }
    });

    // Noise, repetitions of any distance, few values, and nothing, in pieces.
    private static byte[] Content(Random random, int length)
    {
        var bytes = new byte[length];
        for (var at = 0; at < length;)
        {
            var piece = bytes.AsSpan(at, Math.Min(length - at, random.Next(1, 40_000)));
            var period = random.Next(1, 6000);
            switch (random.Next(5))
            {
                case 0:
                    random.NextBytes(piece);
                    break;
                case 1:
                    for (var index = 0; index < piece.Length; index++)
                    {
                        piece[index] = at + index < period ? (byte)index : bytes[at + index - period];
                    }

                    break;
                case 2:
                    for (var index = 0; index < piece.Length; index++)
                    {
                        piece[index] = (byte)(random.Next(8) * random.Next(8));
                    }

                    break;
                case 3:
                    for (var index = 0; index < piece.Length; index++)
                    {
                        piece[index] = at + index < period || random.Next(20) == 0
                            ? (byte)random.Next(256)
                            : bytes[at + index - period];
                    }

                    break;
                default:
                    break;
            }

            at += piece.Length;
        }

        return bytes;
    }

    private static unsafe byte[] Inflate(ReadOnlySpan<byte> source, int length)
    {
        NativeDeflate.State state = default;
        Assert.Equal(NativeDeflate.Ok, NativeDeflate.InflateInit(ref state, NativeDeflate.RawWindow));
        var target = new byte[length];
        var result = NativeDeflate.Ok;
        fixed (byte* from = source, to = target)
        {
            state.NextIn = (nint)from;
            state.AvailableIn = (uint)source.Length;
            for (var done = 0; result == NativeDeflate.Ok;)
            {
                var piece = Math.Min(PieceLength, length - done);
                state.NextOut = (nint)(to + done);
                state.AvailableOut = (uint)piece;
                result = NativeDeflate.Inflate(ref state, NoFlush);
                Assert.True(state.AvailableOut == 0, $"zlib says {result} at {done} of {length}");
                done += piece;
            }
        }

        Assert.Equal(NativeDeflate.StreamEnd, result);
        Assert.Equal(0u, state.AvailableIn);
        _ = NativeDeflate.InflateEnd(ref state);
        return target;
    }
}
