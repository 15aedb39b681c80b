using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server.Options;

/// <summary>NBD_OPT_STARTTLS: this server runs without TLS ("NOTLS mode").</summary>
internal static class StartTlsOption
{
    internal static HandshakeStep Handle(ServerHandshake handshake, ReadOnlySpan<byte> data) =>
        data.IsEmpty
            ? handshake.Refuse(NbdOption.StartTls, OptionReplyType.ErrorUnsupported, "TLS is not supported")
            : handshake.Refuse(NbdOption.StartTls, OptionReplyType.ErrorInvalid, "STARTTLS takes no data");
}
