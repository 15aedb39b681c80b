using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server.Options;

/// <summary>
/// NBD_OPT_STARTTLS ("TLS support"). A client waits for the answer before it sends anything else; bytes that are here
/// already were put in by somebody who could write on the unencrypted line, and would be taken for the client's words
/// after the handshake. Such a connection ends.
/// </summary>
internal static class StartTlsOption
{
    internal static HandshakeStep Handle(ServerHandshake handshake, ReadOnlySpan<byte> data)
    {
        const NbdOption option = NbdOption.StartTls;
        if (!data.IsEmpty)
        {
            return handshake.Refuse(option, OptionReplyType.ErrorInvalid, "STARTTLS takes no data");
        }

        if (handshake.IsEncrypted)
        {
            return handshake.Refuse(option, OptionReplyType.ErrorInvalid, "the connection is encrypted already");
        }

        switch (handshake.Server.Options.Tls)
        {
            case null:
                return handshake.Refuse(option, OptionReplyType.ErrorUnsupported, "TLS is not set up here");
            case { Mode: NbdTlsMode.Disable }:
                return handshake.Refuse(option, OptionReplyType.ErrorPolicy, "TLS is disabled here");
            case var _ when handshake.HasBytesWaiting:
                return HandshakeStep.End;
            case var tls:
                handshake.Acknowledge(option);
                handshake.Encrypt(tls);
                return HandshakeStep.NextOption;
        }
    }
}
