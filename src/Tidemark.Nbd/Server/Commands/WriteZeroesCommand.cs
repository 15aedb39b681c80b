using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server.Commands;

/// <summary>NBD_CMD_WRITE_ZEROES. Without NO_HOLE storage may be freed; with FAST_ZERO a slow way is refused.</summary>
internal static class WriteZeroesCommand
{
    internal static void Serve(TransmissionWorker worker, in RequestHeader request)
    {
        var flags = WriteFlags.None;
        if ((request.Flags & CommandFlags.ForceUnitAccess) != 0)
        {
            flags |= WriteFlags.ForceUnitAccess;
        }

        if ((request.Flags & CommandFlags.NoHole) == 0)
        {
            flags |= WriteFlags.MayUnmap;
        }

        if ((request.Flags & CommandFlags.FastZero) != 0)
        {
            flags |= WriteFlags.NoFallback;
        }

        worker.Wait(worker.Export.Backend.WriteZeroesAsync((long)request.Offset, (long)request.Length, flags));
        worker.ReplySuccess(request);
    }
}
