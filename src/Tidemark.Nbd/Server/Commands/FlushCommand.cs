using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server.Commands;

/// <summary>NBD_CMD_FLUSH: what any connection completed before is durable when it is answered.</summary>
internal static class FlushCommand
{
    internal static void Serve(TransmissionWorker worker, in RequestHeader request)
    {
        worker.Wait(worker.Export.Backend.FlushAsync());
        worker.ReplySuccess(request);
    }
}
