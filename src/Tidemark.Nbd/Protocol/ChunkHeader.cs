using System.Buffers.Binary;

namespace Tidemark.Nbd.Protocol;

/// <summary>
/// The header of a chunk, big-endian: 20 bytes ("Structured reply chunk message"), or 32 with extended headers, which
/// repeat the request's offset and have a length of 64 bits.
/// </summary>
internal readonly record struct ChunkHeader(
    ReplyFlags Flags, ReplyType Type, ulong Cookie, ulong Length, ulong Offset = 0)
{
    internal const int Size = 20;
    internal const int ExtendedSize = 32;

    internal bool IsDone => (Flags & ReplyFlags.Done) != 0;

    internal bool IsError => (Type & ReplyType.ErrorBit) != 0;

    internal static int SizeOf(bool extended) => extended ? ExtendedSize : Size;

    /// <summary>Reads a compact header whose magic number was looked at already.</summary>
    internal static ChunkHeader Read(ReadOnlySpan<byte> source) => Read(source, extended: false);

    /// <summary>Reads a header whose magic number was looked at already.</summary>
    internal static ChunkHeader Read(ReadOnlySpan<byte> source, bool extended) => new(
        (ReplyFlags)BinaryPrimitives.ReadUInt16BigEndian(source[4..]),
        (ReplyType)BinaryPrimitives.ReadUInt16BigEndian(source[6..]),
        BinaryPrimitives.ReadUInt64BigEndian(source[8..]),
        extended
            ? BinaryPrimitives.ReadUInt64BigEndian(source[24..])
            : BinaryPrimitives.ReadUInt32BigEndian(source[16..]),
        extended ? BinaryPrimitives.ReadUInt64BigEndian(source[16..]) : 0);

    internal void Write(Span<byte> target, bool extended = false)
    {
        BinaryPrimitives.WriteUInt32BigEndian(target, extended ? NbdMagic.ExtendedReply : NbdMagic.StructuredReply);
        BinaryPrimitives.WriteUInt16BigEndian(target[4..], (ushort)Flags);
        BinaryPrimitives.WriteUInt16BigEndian(target[6..], (ushort)Type);
        BinaryPrimitives.WriteUInt64BigEndian(target[8..], Cookie);
        if (extended)
        {
            BinaryPrimitives.WriteUInt64BigEndian(target[16..], Offset);
            BinaryPrimitives.WriteUInt64BigEndian(target[24..], Length);
        }
        else
        {
            BinaryPrimitives.WriteUInt32BigEndian(target[16..], (uint)Length);
        }
    }
}
