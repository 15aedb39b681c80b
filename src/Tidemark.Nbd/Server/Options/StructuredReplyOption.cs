using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server.Options;

/// <summary>NBD_OPT_STRUCTURED_REPLY. Asked twice it is acknowledged twice: nothing changes.</summary>
internal static class StructuredReplyOption
{
    internal static HandshakeStep Handle(ServerHandshake handshake, ReadOnlySpan<byte> data)
    {
        if (!data.IsEmpty)
        {
            return handshake.Refuse(
                NbdOption.StructuredReply, OptionReplyType.ErrorInvalid, "STRUCTURED_REPLY takes no data");
        }

        if (handshake.ExtendedHeaders)
        {
            return handshake.Refuse(
                NbdOption.StructuredReply,
                OptionReplyType.ErrorExtendedHeadersRequired,
                "extended headers were negotiated already");
        }

        handshake.StructuredReplies = true;
        return handshake.Acknowledge(NbdOption.StructuredReply);
    }
}
