using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server.Commands;

/// <summary>
/// What the document demands of a request before it is served: a known command, flags that belong to it, permission,
/// alignment, a range inside the export ("Command flags", "Size constraints", "Error values").
/// </summary>
internal static class RequestCheck
{
    /// <summary>The first reason to refuse the request; null when there is none.</summary>
    internal static RequestRefusal? Find(TransmissionWorker worker, in RequestHeader request)
    {
        if (request.Command is > NbdCommand.BlockStatus or NbdCommand.Disconnect)
        {
            return new(NbdError.EINVAL, $"command {(ushort)request.Command} is not known");
        }

        var allowed = CommandFlags.ForceUnitAccess | request.Command switch
        {
            NbdCommand.Read when worker.StructuredReplies => CommandFlags.DontFragment,
            NbdCommand.WriteZeroes => CommandFlags.NoHole | CommandFlags.FastZero,
            NbdCommand.BlockStatus => CommandFlags.RequestOne,
            _ => CommandFlags.None,
        };
        if ((request.Flags & ~allowed) != 0)
        {
            return new(NbdError.EINVAL,
                $"flags 0x{(ushort)(request.Flags & ~allowed):x} do not belong to {request.Command}");
        }

        var writes = request.Command is NbdCommand.Write or NbdCommand.WriteZeroes or NbdCommand.Trim;
        if (writes && !worker.Export.Options.Writable)
        {
            return new(NbdError.EPERM, "the export is read-only");
        }

        if (request.Command == NbdCommand.Flush)
        {
            return (request.Offset | request.Length) == 0
                ? null
                : new(NbdError.EINVAL, "a flush has no offset and no length");
        }

        return FindInRange(worker.Export, request);
    }

    private static RequestRefusal? FindInRange(NbdExport export, in RequestHeader request)
    {
        var size = (ulong)export.Backend.Length;
        if (request.Offset > size || request.Length > size - request.Offset)
        {
            var error =
                request.Command is NbdCommand.Write or NbdCommand.WriteZeroes ? NbdError.ENOSPC : NbdError.EINVAL;
            return new(error, $"{request.Length} bytes at {request.Offset} lie outside the export of {size} bytes");
        }

        var alignment = (ulong)export.MinimumBlockSize;
        if (((request.Offset | request.Length) & (alignment - 1)) != 0)
        {
            return new(
                NbdError.EINVAL,
                $"{request.Length} bytes at {request.Offset} are not aligned to the minimum block size {alignment}");
        }

        if (request.Command is NbdCommand.Read or NbdCommand.Write && request.Length > export.MaximumPayload)
        {
            var error = request.Command == NbdCommand.Read ? NbdError.EOVERFLOW : NbdError.EINVAL;
            return new(error, $"{request.Length} bytes are over the maximum payload of {export.MaximumPayload}");
        }

        return null;
    }
}
