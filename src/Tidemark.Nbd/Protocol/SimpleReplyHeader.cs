using System.Buffers.Binary;

namespace Tidemark.Nbd.Protocol;

/// <summary>A simple reply ("Simple reply message"): 16 bytes, big-endian.</summary>
internal readonly record struct SimpleReplyHeader(NbdError Error, ulong Cookie)
{
    internal const int Size = 16;

    /// <summary>Reads a header whose magic number was looked at already.</summary>
    internal static SimpleReplyHeader Read(ReadOnlySpan<byte> source) => new(
        (NbdError)BinaryPrimitives.ReadUInt32BigEndian(source[4..]),
        BinaryPrimitives.ReadUInt64BigEndian(source[8..]));

    internal void Write(Span<byte> target)
    {
        BinaryPrimitives.WriteUInt32BigEndian(target, NbdMagic.SimpleReply);
        BinaryPrimitives.WriteUInt32BigEndian(target[4..], (uint)Error);
        BinaryPrimitives.WriteUInt64BigEndian(target[8..], Cookie);
    }
}
