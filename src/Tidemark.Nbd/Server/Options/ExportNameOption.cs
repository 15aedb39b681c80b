using System.Buffers.Binary;

namespace Tidemark.Nbd.Server.Options;

/// <summary>NBD_OPT_EXPORT_NAME: the old way in. It cannot answer an error; the connection ends instead.</summary>
internal static class ExportNameOption
{
    private const int PaddingLength = 124;

    internal static HandshakeStep Handle(ServerHandshake handshake, ReadOnlySpan<byte> data)
    {
        // A client that comes this way was told no block sizes; it may only have an export that takes any request.
        // Nor may one that has negotiated extended headers.
        if (handshake.ExtendedHeaders
            || !OptionReader.TryDecode(data, out var name)
            || handshake.Server.FindExport(name) is not { MinimumBlockSize: 1 } export
            || !handshake.TryChoose(export))
        {
            return HandshakeStep.End;
        }

        Span<byte> reply = stackalloc byte[10 + PaddingLength];
        reply.Clear();
        BinaryPrimitives.WriteInt64BigEndian(reply, export.Backend.Length);
        BinaryPrimitives.WriteUInt16BigEndian(reply[8..], (ushort)handshake.FlagsOf(export));
        handshake.Send(handshake.NoZeroes ? reply[..10] : reply);
        return HandshakeStep.Transmission;
    }
}
