using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server.Commands;

/// <summary>NBD_CMD_CACHE: answered at once. The document leaves it
/// to the server whether anything is read ahead.</summary>
internal static class CacheCommand
{
    internal static void Serve(TransmissionWorker worker, in RequestHeader request) => worker.ReplySuccess(request);
}
