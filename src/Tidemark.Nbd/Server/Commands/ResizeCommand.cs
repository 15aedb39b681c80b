using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server.Commands;

/// <summary>NBD_CMD_RESIZE (the RESIZE extension): the request's offset is the new size. An export only grows: what
/// lies behind a smaller size would be gone for every other client.</summary>
internal static class ResizeCommand
{
    internal static void Serve(TransmissionWorker worker, in RequestHeader request)
    {
        worker.Wait(worker.Export.GrowAsync((long)request.Offset));
        worker.ReplySuccess(request);
    }

    /// <summary>Why a request cannot be served; null when it can.</summary>
    internal static RequestRefusal? Find(NbdExport export, in RequestHeader request)
    {
        var size = (ulong)export.Backend.Length;
        if (export.Options.Grow is null || !export.Options.Writable)
        {
            // Not advertised, so a client must not ask: an unknown command.
            return new(NbdError.EINVAL, "the export cannot be resized");
        }

        if (request.Offset < size)
        {
            return new(NbdError.EPERM, $"the export of {size} bytes cannot shrink to {request.Offset}");
        }

        if (request.Offset > long.MaxValue || request.Offset % (ulong)export.MinimumBlockSize != 0
            || request.Length != 0)
        {
            return new(
                NbdError.EINVAL,
                $"a size of {request.Offset} is no multiple of {export.MinimumBlockSize}, too large, or has a length");
        }

        return null;
    }
}
