using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server.Commands;

/// <summary>NBD_CMD_TRIM.</summary>
internal static class TrimCommand
{
    internal static void Serve(TransmissionWorker worker, in RequestHeader request)
    {
        worker.Wait(worker.Export.Backend.DiscardAsync((long)request.Offset, (long)request.Length));
        if ((request.Flags & CommandFlags.ForceUnitAccess) != 0)
        {
            worker.Wait(worker.Export.Backend.FlushAsync());
        }

        worker.ReplySuccess(request);
    }
}
