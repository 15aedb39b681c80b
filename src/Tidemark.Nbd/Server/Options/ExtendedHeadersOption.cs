using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server.Options;

/// <summary>NBD_OPT_EXTENDED_HEADERS (the EXTENDED_HEADERS extension): 64-bit lengths; structured replies come with it.
/// Asked twice it is acknowledged twice: nothing changes.</summary>
internal static class ExtendedHeadersOption
{
    internal static HandshakeStep Handle(ServerHandshake handshake, ReadOnlySpan<byte> data)
    {
        if (!data.IsEmpty)
        {
            return handshake.Refuse(
                NbdOption.ExtendedHeaders, OptionReplyType.ErrorInvalid, "EXTENDED_HEADERS takes no data");
        }

        handshake.StructuredReplies = true;
        handshake.ExtendedHeaders = true;
        return handshake.Acknowledge(NbdOption.ExtendedHeaders);
    }
}
