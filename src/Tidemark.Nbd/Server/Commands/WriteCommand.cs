using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server.Commands;

/// <summary>NBD_CMD_WRITE.</summary>
internal static class WriteCommand
{
    internal static void Serve(TransmissionWorker worker, in RequestHeader request)
    {
        var flags = (request.Flags & CommandFlags.ForceUnitAccess) != 0 ? WriteFlags.ForceUnitAccess : WriteFlags.None;
        worker.Wait(worker.Export.Backend.WriteAsync((long)request.Offset, worker.Payload, flags));
        worker.ReplySuccess(request);
    }
}
