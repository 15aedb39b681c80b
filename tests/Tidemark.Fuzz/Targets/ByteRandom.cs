using System.Buffers.Binary;

namespace Tidemark.Fuzz.Targets;

/// <summary>Decisions read off an input, four bytes each; when they are used up, off a generator that the input has
/// seeded.</summary>
internal sealed class ByteRandom(byte[] input) : Random(0)
{
    private ulong _state = Seed(input);
    private int _at;

    public override int Next(int maxValue) => maxValue <= 1 ? 0 : (int)(Take() % (uint)maxValue);

    public override int Next(int minValue, int maxValue) => minValue + Next(maxValue - minValue);

    public override int Next() => (int)(Take() >> 1);

    public override long NextInt64() => (long)((((ulong)Take() << 32) | Take()) >> 1);

    public override long NextInt64(long maxValue) => maxValue <= 1 ? 0 : NextInt64() % maxValue;

    public override void NextBytes(byte[] buffer) => NextBytes(buffer.AsSpan());

    public override void NextBytes(Span<byte> buffer)
    {
        foreach (ref var value in buffer)
        {
            value = (byte)Take();
        }
    }

    private static ulong Seed(byte[] input)
    {
        var seed = (ulong)input.Length;
        foreach (var part in input)
        {
            seed = (seed * 31) + part;
        }

        return seed;
    }

    private uint Take()
    {
        if (_at + sizeof(uint) > input.Length)
        {
            return Generate();
        }

        var value = BinaryPrimitives.ReadUInt32LittleEndian(input.AsSpan(_at));
        _at += sizeof(uint);
        return value;
    }

    // SplitMix64: a generator that costs nothing to begin.
    private uint Generate()
    {
        _state += 0x9e37_79b9_7f4a_7c15;
        var value = (_state ^ (_state >> 30)) * 0xbf58_476d_1ce4_e5b9;
        value = (value ^ (value >> 27)) * 0x94d0_49bb_1331_11eb;
        return (uint)(value >> 32);
    }
}
