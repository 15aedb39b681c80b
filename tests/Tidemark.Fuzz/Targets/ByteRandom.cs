using System.Buffers.Binary;

namespace Tidemark.Fuzz.Targets;

/// <summary>Decisions read off an input, four bytes each; when they are used up, off a generator that the input has
/// seeded.</summary>
internal sealed class ByteRandom(byte[] input) : Random(0)
{
    // Not the base class, which asks this class for its numbers.
    private readonly Random _rest = new(Seed(input));
    private int _at;

    public override int Next(int maxValue) => maxValue <= 1 ? 0 : (int)(Take() % (uint)maxValue);

    public override int Next(int minValue, int maxValue) => minValue + Next(maxValue - minValue);

    public override int Next() => (int)(Take() >> 1);

    public override long NextInt64() => (long)((((ulong)Take() << 32) | Take()) >> 1);

    public override long NextInt64(long maxValue) => maxValue <= 1 ? 0 : NextInt64() % maxValue;

    private static int Seed(byte[] input)
    {
        var seed = input.Length;
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
            return (uint)_rest.NextInt64(1L << 32);
        }

        var value = BinaryPrimitives.ReadUInt32LittleEndian(input.AsSpan(_at));
        _at += sizeof(uint);
        return value;
    }
}
