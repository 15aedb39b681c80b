using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server.Options;

/// <summary>NBD_OPT_ABORT: acknowledged, whatever data came with it, and the connection ends.</summary>
internal static class AbortOption
{
    internal static HandshakeStep Handle(ServerHandshake handshake)
    {
        try
        {
            handshake.Acknowledge(NbdOption.Abort);
        }
        catch (IOException)
        {
            // The client may close without waiting for the answer.
        }

        return HandshakeStep.End;
    }
}
