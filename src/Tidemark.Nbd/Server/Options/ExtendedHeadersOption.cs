using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server.Options;

/// <summary>NBD_OPT_EXTENDED_HEADERS, an extension that this server does not have yet.</summary>
internal static class ExtendedHeadersOption
{
    internal static HandshakeStep Handle(ServerHandshake handshake) => handshake.Refuse(
        NbdOption.ExtendedHeaders, OptionReplyType.ErrorUnsupported, "extended headers are not supported");
}
