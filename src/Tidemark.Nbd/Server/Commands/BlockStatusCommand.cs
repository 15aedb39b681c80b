using System.Buffers.Binary;
using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Extents;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server.Commands;

/// <summary>
/// NBD_CMD_BLOCK_STATUS: one chunk for each selected context. A reply may describe less than was asked, so each chunk
/// stops at a number of extents; the client asks again from there.
/// </summary>
internal static class BlockStatusCommand
{
    private const int ExtentLength = 8;
    private const int ChunkPrefix = ChunkHeader.Size + 4;

    /// <summary>The node is asked for this much at a time, so that a list cannot grow without bound.</summary>
    private const long StepLength = 64 << 20;

    internal static void Serve(TransmissionWorker worker, in RequestHeader request)
    {
        if (worker.Contexts.Count == 0)
        {
            worker.ReplyError(request, NbdError.EINVAL, "no metadata context was selected for this export");
            return;
        }

        if (request.Length == 0)
        {
            worker.ReplyError(request, NbdError.EINVAL, "the block status of no bytes makes no sense");
            return;
        }

        // An error may come until the last context is known; only then may a chunk be marked as the last. Chunks of a
        // failed reply that have been built already are followed by the error chunk, which the document allows.
        for (var index = 0; index < worker.Contexts.Count; index++)
        {
            var context = worker.Contexts[index];
            var one = (request.Flags & CommandFlags.RequestOne) != 0;
            if (context.Bitmap is { } bitmap)
            {
                Collect(bitmap, (long)request.Offset, request.Length, one ? 1
                    : NbdLimits.MaximumExtentsSent, worker.Extents);
            }
            else
            {
                Collect(worker, (long)request.Offset, request.Length, one ? 1 : NbdLimits.MaximumExtentsSent);
            }

            SendChunk(worker, request, context, isLast: index == worker.Contexts.Count - 1, one);
        }
    }

    private static void Collect(TransmissionWorker worker, long offset, long length, int maximumCount)
    {
        var extents = worker.Extents;
        extents.Clear();
        var end = offset + length;

        // One more than is wanted: only then is the last wanted one known to be complete.
        while (offset < end && extents.Count <= maximumCount)
        {
            var step = Math.Min(StepLength, end - offset);
            worker.Wait(worker.Export.Backend.GetBlockStatusAsync(offset, step, extents));
            offset += step;
        }
    }

    private static void Collect(DirtyBitmap bitmap, long offset, long length, int maximumCount, ExtentList extents)
    {
        extents.Clear();
        var end = offset + length;
        while (offset < end && extents.Count < maximumCount)
        {
            if (!bitmap.TryNextDirty(offset, end - offset, out var run))
            {
                extents.Append(offset, end - offset, ExtentFlags.None);
                return;
            }

            if (run.Offset > offset)
            {
                extents.Append(offset, run.Offset - offset, ExtentFlags.None);
            }

            extents.Append(run);
            offset = run.End;
        }
    }

    private static void SendChunk(
        TransmissionWorker worker, in RequestHeader request, ExportContext context, bool isLast, bool one)
    {
        var extents = worker.Extents;
        var count = Math.Min(extents.Count, one ? 1 : NbdLimits.MaximumExtentsSent);
        var reply = worker.BuildReply(ChunkPrefix + (count * ExtentLength));
        var span = reply.Span;
        var flags = isLast ? ReplyFlags.Done : ReplyFlags.None;
        new ChunkHeader(flags, ReplyType.BlockStatus, request.Cookie, (uint)(4 + (count * ExtentLength))).Write(span);
        BinaryPrimitives.WriteUInt32BigEndian(span[ChunkHeader.Size..], context.Id);
        for (var index = 0; index < count; index++)
        {
            var extent = extents[index];
            var target = span[(ChunkPrefix + (index * ExtentLength))..];
            BinaryPrimitives.WriteUInt32BigEndian(target, (uint)extent.Length);
            BinaryPrimitives.WriteUInt32BigEndian(target[4..], StateOf(context, extent.Flags));
        }

        worker.FinishReply(reply.Length);
    }

    private static uint StateOf(ExportContext context, ExtentFlags flags) => context.Bitmap is null
        ? (uint)(flags & (ExtentFlags.Hole | ExtentFlags.Zero))
        : (flags & ExtentFlags.Dirty) != 0 ? ExportContext.DirtyState : 0;
}
