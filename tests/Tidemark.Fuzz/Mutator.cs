using System.Buffers.Binary;

namespace Tidemark.Fuzz;

/// <summary>Makes a new input from one that is there: a few random changes of the usual kinds, or a splice.</summary>
internal sealed class Mutator(Random random, int maximum)
{
    private static readonly ulong[] s_edges =
    [
        0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x1FF, 0x200, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFF_FFFF, 0x8000_0000,
        0xFFFF_FFFF, 0x1_0000_0000, 0x7FFF_FFFF_FFFF_FFFF, 0x8000_0000_0000_0000, 0xFFFF_FFFF_FFFF_FFFF,
    ];

    /// <summary>A changed copy; <paramref name="other"/> is where spliced bytes come from.</summary>
    public byte[] Mutate(byte[] input, byte[] other)
    {
        var bytes = new List<byte>(input);
        var changes = 1 << random.Next(0, 5);
        for (var change = 0; change < changes; change++)
        {
            Change(bytes, other);
        }

        if (bytes.Count > maximum)
        {
            bytes.RemoveRange(maximum, bytes.Count - maximum);
        }

        return [.. bytes];
    }

    private void Change(List<byte> bytes, byte[] other)
    {
        var at = bytes.Count == 0 ? 0 : random.Next(bytes.Count);
        switch (bytes.Count == 0 ? 4 : random.Next(9))
        {
            case 0:
                bytes[at] ^= (byte)(1 << random.Next(8));
                break;
            case 1:
                bytes[at] = (byte)random.Next(256);
                break;
            case 2:
                bytes[at] = (byte)(bytes[at] + random.Next(-8, 9));
                break;
            case 3:
                bytes.RemoveRange(at, Math.Min(Size(), bytes.Count - at));
                break;
            case 4:
                bytes.InsertRange(at, RandomBytes(Size()));
                break;
            case 5:
                SetNumber(bytes, at);
                break;
            case 6:
                bytes.InsertRange(at, bytes.GetRange(at, Math.Min(Size(), bytes.Count - at)));
                break;
            default:
                Splice(bytes, at, other);
                break;
        }
    }

    private int Size() => 1 + random.Next(1 << random.Next(0, 7));

    private byte[] RandomBytes(int count)
    {
        var bytes = new byte[count];
        random.NextBytes(bytes);
        return bytes;
    }

    // A number where lengths and offsets break, big-endian, at a width of 1, 2, 4 or 8.
    private void SetNumber(List<byte> bytes, int at)
    {
        Span<byte> number = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64BigEndian(number, s_edges[random.Next(s_edges.Length)]);
        var width = 1 << random.Next(4);
        for (var index = 0; index < width && at + index < bytes.Count; index++)
        {
            bytes[at + index] = number[8 - width + index];
        }
    }

    private void Splice(List<byte> bytes, int at, byte[] other)
    {
        if (other.Length == 0)
        {
            return;
        }

        var from = random.Next(other.Length);
        var length = Math.Min(Size() * 4, other.Length - from);
        if (random.Next(2) == 0)
        {
            bytes.RemoveRange(at, Math.Min(length, bytes.Count - at));
        }

        bytes.InsertRange(Math.Min(at, bytes.Count), other.AsSpan(from, length).ToArray());
    }
}
