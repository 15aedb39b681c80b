using System.Buffers.Binary;

namespace Tidemark.Nbd.Protocol;

/// <summary>The header of a reply to an option ("Fixed newstyle negotiation"): 20 bytes, big-endian.</summary>
internal readonly record struct OptionReplyHeader(NbdOption Option, OptionReplyType Type, uint Length)
{
    internal const int Size = 20;

    /// <summary>Reads a header; false when the magic number is wrong.</summary>
    internal static bool TryRead(ReadOnlySpan<byte> source, out OptionReplyHeader header)
    {
        header = new OptionReplyHeader(
            (NbdOption)BinaryPrimitives.ReadUInt32BigEndian(source[8..]),
            (OptionReplyType)BinaryPrimitives.ReadUInt32BigEndian(source[12..]),
            BinaryPrimitives.ReadUInt32BigEndian(source[16..]));
        return BinaryPrimitives.ReadUInt64BigEndian(source) == NbdMagic.OptionReply;
    }

    internal void Write(Span<byte> target)
    {
        BinaryPrimitives.WriteUInt64BigEndian(target, NbdMagic.OptionReply);
        BinaryPrimitives.WriteUInt32BigEndian(target[8..], (uint)Option);
        BinaryPrimitives.WriteUInt32BigEndian(target[12..], (uint)Type);
        BinaryPrimitives.WriteUInt32BigEndian(target[16..], Length);
    }
}
