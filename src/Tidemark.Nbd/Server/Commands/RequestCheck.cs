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
        if (request.Command is > NbdCommand.Resize or NbdCommand.Disconnect)
        {
            return new(NbdError.EINVAL, $"command {(ushort)request.Command} is not known");
        }

        var allowed = CommandFlags.ForceUnitAccess | request.Command switch
        {
            NbdCommand.Read when worker.StructuredReplies => CommandFlags.DontFragment,
            NbdCommand.Write when worker.ExtendedHeaders => CommandFlags.PayloadLength,
            NbdCommand.WriteZeroes => CommandFlags.NoHole | CommandFlags.FastZero,
            NbdCommand.BlockStatus when worker.ExtendedHeaders =>
                CommandFlags.RequestOne | CommandFlags.PayloadLength,
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

        return request.Command switch
        {
            NbdCommand.Flush => (request.Offset | request.Length) == 0
                ? null
                : new(NbdError.EINVAL, "a flush has no offset and no length"),
            NbdCommand.Resize => ResizeCommand.Find(worker.Export, request),
            NbdCommand.BlockStatus => BlockStatusCommand.Find(worker, request)
                ?? FindInRange(worker.Export, request, BlockStatusLength(worker, request)),
            _ => FindInRange(worker.Export, request, request.Length),
        };
    }

    private static ulong BlockStatusLength(TransmissionWorker worker, in RequestHeader request) =>
        (request.Flags & CommandFlags.PayloadLength) != 0
            ? System.Buffers.Binary.BinaryPrimitives.ReadUInt64BigEndian(worker.Payload.Span)
            : request.Length;

    private static RequestRefusal? FindInRange(NbdExport export, in RequestHeader request, ulong length)
    {
        var size = (ulong)export.Backend.Length;
        if (request.Offset > size || length > size - request.Offset)
        {
            var error =
                request.Command is NbdCommand.Write or NbdCommand.WriteZeroes ? NbdError.ENOSPC : NbdError.EINVAL;
            return new(error, $"{length} bytes at {request.Offset} lie outside the export of {size} bytes");
        }

        var alignment = (ulong)export.MinimumBlockSize;
        if (((request.Offset | length) & (alignment - 1)) != 0)
        {
            return new(
                NbdError.EINVAL,
                $"{length} bytes at {request.Offset} are not aligned to the minimum block size {alignment}");
        }

        if (request.Command is NbdCommand.Read or NbdCommand.Write && length > (ulong)export.MaximumPayload)
        {
            var error = request.Command == NbdCommand.Read ? NbdError.EOVERFLOW : NbdError.EINVAL;
            return new(error, $"{length} bytes are over the maximum payload of {export.MaximumPayload}");
        }

        if (length == 0 && request.Command == NbdCommand.BlockStatus)
        {
            return new(NbdError.EINVAL, "the block status of no bytes makes no sense");
        }

        return null;
    }
}
