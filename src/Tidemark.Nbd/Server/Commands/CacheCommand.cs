using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server.Commands;

/// <summary>NBD_CMD_CACHE: the range is read through the node, up to one longest payload of it, so that whatever caches
/// lie below hold it. The document leaves it to the server how much that is.</summary>
internal static class CacheCommand
{
    private const int Piece = 256 * 1024;

    internal static void Serve(TransmissionWorker worker, in RequestHeader request)
    {
        var offset = (long)request.Offset;
        var end = offset + (long)Math.Min(request.Length, (ulong)worker.Export.MaximumPayload);
        while (offset < end)
        {
            // The memory of the reply to come; nothing of it is sent.
            var target = worker.BuildReply((int)Math.Min(Piece, end - offset));
            worker.Wait(worker.Export.Backend.ReadAsync(offset, target));
            offset += target.Length;
        }

        worker.ReplySuccess(request);
    }
}
