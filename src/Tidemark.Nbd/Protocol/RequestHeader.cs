using System.Buffers.Binary;

namespace Tidemark.Nbd.Protocol;

/// <summary>
/// The header of a request ("Request message"), big-endian: 28 bytes, or 32 with extended headers, whose length has 64
/// bits.
/// </summary>
internal readonly record struct RequestHeader(
    CommandFlags Flags, NbdCommand Command, ulong Cookie, ulong Offset, ulong Length)
{
    internal const int Size = 28;
    internal const int ExtendedSize = 32;

    internal static int SizeOf(bool extended) => extended ? ExtendedSize : Size;

    /// <summary>Reads a compact header; false when the magic number is wrong.</summary>
    internal static bool TryRead(ReadOnlySpan<byte> source, out RequestHeader header) =>
        TryRead(source, extended: false, out header);

    /// <summary>Reads a header; false when the magic number is wrong.</summary>
    internal static bool TryRead(ReadOnlySpan<byte> source, bool extended, out RequestHeader header)
    {
        header = new RequestHeader(
            (CommandFlags)BinaryPrimitives.ReadUInt16BigEndian(source[4..]),
            (NbdCommand)BinaryPrimitives.ReadUInt16BigEndian(source[6..]),
            BinaryPrimitives.ReadUInt64BigEndian(source[8..]),
            BinaryPrimitives.ReadUInt64BigEndian(source[16..]),
            extended
                ? BinaryPrimitives.ReadUInt64BigEndian(source[24..])
                : BinaryPrimitives.ReadUInt32BigEndian(source[24..]));
        return BinaryPrimitives.ReadUInt32BigEndian(source)
            == (extended ? NbdMagic.ExtendedRequest : NbdMagic.Request);
    }

    /// <summary>
    /// How many bytes follow the header: those of a write, or what PAYLOAD_LEN announces. QEMU's client (10.0 and 11.1
    /// were seen) leaves that flag out of its extended writes; the bytes come all the same.
    /// </summary>
    internal ulong PayloadLength(bool extended) =>
        Command == NbdCommand.Write || (extended && (Flags & CommandFlags.PayloadLength) != 0) ? Length : 0;

    internal void Write(Span<byte> target) => Write(target, extended: false);

    internal void Write(Span<byte> target, bool extended)
    {
        BinaryPrimitives.WriteUInt32BigEndian(target, extended ? NbdMagic.ExtendedRequest : NbdMagic.Request);
        BinaryPrimitives.WriteUInt16BigEndian(target[4..], (ushort)Flags);
        BinaryPrimitives.WriteUInt16BigEndian(target[6..], (ushort)Command);
        BinaryPrimitives.WriteUInt64BigEndian(target[8..], Cookie);
        BinaryPrimitives.WriteUInt64BigEndian(target[16..], Offset);
        if (extended)
        {
            BinaryPrimitives.WriteUInt64BigEndian(target[24..], Length);
        }
        else
        {
            BinaryPrimitives.WriteUInt32BigEndian(target[24..], (uint)Length);
        }
    }
}
