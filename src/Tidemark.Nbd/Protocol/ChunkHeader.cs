using System.Buffers.Binary;

namespace Tidemark.Nbd.Protocol;

/// <summary>The header of a chunk ("Structured reply chunk message"): 20 bytes, big-endian.</summary>
internal readonly record struct ChunkHeader(ReplyFlags Flags, ReplyType Type, ulong Cookie, uint Length)
{
    internal const int Size = 20;

    internal bool IsDone => (Flags & ReplyFlags.Done) != 0;

    internal bool IsError => (Type & ReplyType.ErrorBit) != 0;

    /// <summary>Reads a header whose magic number was looked at already.</summary>
    internal static ChunkHeader Read(ReadOnlySpan<byte> source) => new(
        (ReplyFlags)BinaryPrimitives.ReadUInt16BigEndian(source[4..]),
        (ReplyType)BinaryPrimitives.ReadUInt16BigEndian(source[6..]),
        BinaryPrimitives.ReadUInt64BigEndian(source[8..]),
        BinaryPrimitives.ReadUInt32BigEndian(source[16..]));

    internal void Write(Span<byte> target)
    {
        BinaryPrimitives.WriteUInt32BigEndian(target, NbdMagic.StructuredReply);
        BinaryPrimitives.WriteUInt16BigEndian(target[4..], (ushort)Flags);
        BinaryPrimitives.WriteUInt16BigEndian(target[6..], (ushort)Type);
        BinaryPrimitives.WriteUInt64BigEndian(target[8..], Cookie);
        BinaryPrimitives.WriteUInt32BigEndian(target[16..], Length);
    }
}
