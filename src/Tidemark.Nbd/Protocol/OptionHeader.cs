using System.Buffers.Binary;

namespace Tidemark.Nbd.Protocol;

/// <summary>The header of an option ("Newstyle negotiation"): 16 bytes, big-endian.</summary>
internal readonly record struct OptionHeader(NbdOption Option, uint Length)
{
    internal const int Size = 16;

    /// <summary>Reads a header; false when the magic number is wrong.</summary>
    internal static bool TryRead(ReadOnlySpan<byte> source, out OptionHeader header)
    {
        header = new OptionHeader(
            (NbdOption)BinaryPrimitives.ReadUInt32BigEndian(source[8..]),
            BinaryPrimitives.ReadUInt32BigEndian(source[12..]));
        return BinaryPrimitives.ReadUInt64BigEndian(source) == NbdMagic.Option;
    }

    internal void Write(Span<byte> target)
    {
        BinaryPrimitives.WriteUInt64BigEndian(target, NbdMagic.Option);
        BinaryPrimitives.WriteUInt32BigEndian(target[8..], (uint)Option);
        BinaryPrimitives.WriteUInt32BigEndian(target[12..], Length);
    }
}
