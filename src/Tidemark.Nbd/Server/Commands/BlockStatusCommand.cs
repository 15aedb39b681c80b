using System.Buffers.Binary;
using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Extents;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server.Commands;

/// <summary>
/// NBD_CMD_BLOCK_STATUS: one chunk for each selected context, or for each of those that the payload names. A reply may
/// describe less than was asked, so each chunk stops at a number of extents; the client asks again from there.
/// </summary>
internal static class BlockStatusCommand
{
    private const int CompactDescriptor = 8;
    private const int ExtendedDescriptor = 16;
    private const int FilterPrefix = 8;
    private const int FilterEntry = 4;

    /// <summary>The node is asked for this much at first, and for more while little comes of it, so that a list cannot
    /// grow without bound and a large empty disk does not cost a call for each of its parts.</summary>
    private const long FirstStep = 64 << 20;

    private const long LongestStep = 1L << 40;
    private const int FewExtents = 64;

    internal static void Serve(TransmissionWorker worker, in RequestHeader request)
    {
        var length = (long)request.Length;
        if ((request.Flags & CommandFlags.PayloadLength) != 0)
        {
            // The effect length is in the payload, which RequestCheck has looked at.
            length = BinaryPrimitives.ReadInt64BigEndian(worker.Payload.Span);
        }

        // An error may come until the last context is known; only then may a chunk be marked as the last. Chunks of a
        // failed reply that have been built already are followed by the error chunk, which the document allows.
        var last = LastWanted(worker, request);
        var one = (request.Flags & CommandFlags.RequestOne) != 0;
        for (var index = 0; index <= last; index++)
        {
            var context = worker.Contexts[index];
            if (IsWanted(worker, request, context))
            {
                Collect(worker, context, (long)request.Offset, length, one ? 1 : NbdLimits.MaximumExtentsSent);
                SendChunk(worker, request, context, isLast: index == last);
            }
        }

        if (last < 0)
        {
            worker.ReplySuccess(request);
        }
    }

    /// <summary>Why a request cannot be served; null when it can.</summary>
    internal static RequestRefusal? Find(TransmissionWorker worker, in RequestHeader request)
    {
        if (worker.Contexts.Count == 0)
        {
            return new(NbdError.EINVAL, "no metadata context was selected for this export");
        }

        if ((request.Flags & CommandFlags.PayloadLength) == 0)
        {
            return request.Length == 0
                ? new(NbdError.EINVAL, "the block status of no bytes makes no sense")
                : null;
        }

        var payload = worker.Payload.Span;
        if (payload.Length < FilterPrefix || (payload.Length - FilterPrefix) % FilterEntry != 0)
        {
            return new(NbdError.EINVAL, $"a payload of {request.Length} bytes does not name contexts");
        }

        for (var position = FilterPrefix; position < payload.Length; position += FilterEntry)
        {
            var id = payload.Slice(position, FilterEntry);
            if (!IsSelected(worker, BinaryPrimitives.ReadUInt32BigEndian(id))
                || Names(payload[..position], id))
            {
                return new(NbdError.EINVAL, "the payload names a context that is not selected, or one twice");
            }
        }

        return null;
    }

    private static bool IsSelected(TransmissionWorker worker, uint id)
    {
        for (var index = 0; index < worker.Contexts.Count; index++)
        {
            if (worker.Contexts[index].Id == id)
            {
                return true;
            }
        }

        return false;
    }

    private static bool Names(ReadOnlySpan<byte> payload, ReadOnlySpan<byte> id)
    {
        for (var position = FilterPrefix; position < payload.Length; position += FilterEntry)
        {
            if (payload.Slice(position, FilterEntry).SequenceEqual(id))
            {
                return true;
            }
        }

        return false;
    }

    private static bool IsWanted(TransmissionWorker worker, in RequestHeader request, ExportContext context)
    {
        if ((request.Flags & CommandFlags.PayloadLength) == 0)
        {
            return true;
        }

        Span<byte> id = stackalloc byte[FilterEntry];
        BinaryPrimitives.WriteUInt32BigEndian(id, context.Id);
        return Names(worker.Payload.Span, id);
    }

    private static int LastWanted(TransmissionWorker worker, in RequestHeader request)
    {
        var last = worker.Contexts.Count - 1;
        while (last >= 0 && !IsWanted(worker, request, worker.Contexts[last]))
        {
            last--;
        }

        return last;
    }

    private static void Collect(
        TransmissionWorker worker, ExportContext context, long offset, long length, int maximumCount)
    {
        var runs = worker.StatusRuns;
        runs.Clear();
        switch (context.Kind)
        {
            case ExportContextKind.DirtyBitmap:
                CollectDirty(context.Bitmap!, offset, length, maximumCount, runs);
                break;
            case ExportContextKind.AllocationDepth:
                CollectDepth(worker, offset, length, maximumCount);
                break;
            default:
                CollectAllocation(worker, offset, length, maximumCount);
                break;
        }

        if (runs.Count > maximumCount)
        {
            runs.RemoveRange(maximumCount, runs.Count - maximumCount);
        }
    }

    private static void CollectAllocation(TransmissionWorker worker, long offset, long length, int maximumCount)
    {
        var extents = worker.Extents;
        extents.Clear();
        var end = offset + length;
        var step = FirstStep;

        // One more than is wanted: only then is the last wanted one known to be complete.
        while (offset < end && extents.Count <= maximumCount)
        {
            var count = extents.Count;
            var wanted = Math.Min(step, end - offset);
            worker.Wait(worker.Export.Backend.GetBlockStatusAsync(offset, wanted, extents));
            offset += wanted;
            step = extents.Count - count <= FewExtents ? Math.Min(2 * step, LongestStep) : FirstStep;
        }

        for (var index = 0; index < extents.Count; index++)
        {
            const ExtentFlags known = ExtentFlags.Hole | ExtentFlags.Zero;
            worker.StatusRuns.Add(new(extents[index].Length, (uint)(extents[index].Flags & known)));
        }
    }

    private static void CollectDepth(TransmissionWorker worker, long offset, long length, int maximumCount)
    {
        var depths = new DepthList();
        var end = offset + length;
        var step = FirstStep;
        while (offset < end && depths.Count <= maximumCount)
        {
            var wanted = Math.Min(step, end - offset);
            var count = depths.Count;
            worker.Wait(worker.Export.Backend.GetAllocationDepthAsync(offset, wanted, depths));
            offset += wanted;
            step = depths.Count - count <= FewExtents ? Math.Min(2 * step, LongestStep) : FirstStep;
        }

        foreach (var run in depths)
        {
            worker.StatusRuns.Add(new(run.Length, (uint)run.Depth));
        }
    }

    private static void CollectDirty(
        DirtyBitmap bitmap, long offset, long length, int maximumCount, List<StatusRun> runs)
    {
        var end = offset + length;
        while (offset < end && runs.Count < maximumCount)
        {
            if (!bitmap.TryNextDirty(offset, end - offset, out var run))
            {
                runs.Add(new(end - offset, 0));
                return;
            }

            if (run.Offset > offset)
            {
                runs.Add(new(run.Offset - offset, 0));
            }

            runs.Add(new(run.Length, ExportContext.DirtyState));
            offset = run.End;
        }
    }

    private static void SendChunk(
        TransmissionWorker worker, in RequestHeader request, ExportContext context, bool isLast)
    {
        var runs = worker.StatusRuns;
        var extended = worker.ExtendedHeaders;
        var descriptor = extended ? ExtendedDescriptor : CompactDescriptor;
        var prefix = extended ? 8 : 4;
        var payloadLength = prefix + (runs.Count * descriptor);
        var reply = worker.BuildReply(worker.ChunkHeaderSize + payloadLength);
        var span = reply.Span;
        worker.WriteChunkHeader(
            span,
            request,
            extended ? ReplyType.ExtendedBlockStatus : ReplyType.BlockStatus,
            payloadLength,
            isLast ? ReplyFlags.Done : ReplyFlags.None);
        var payload = span[worker.ChunkHeaderSize..];
        BinaryPrimitives.WriteUInt32BigEndian(payload, context.Id);
        if (extended)
        {
            BinaryPrimitives.WriteInt32BigEndian(payload[4..], runs.Count);
        }

        for (var index = 0; index < runs.Count; index++)
        {
            var target = payload[(prefix + (index * descriptor))..];
            if (extended)
            {
                BinaryPrimitives.WriteInt64BigEndian(target, runs[index].Length);
                BinaryPrimitives.WriteUInt64BigEndian(target[8..], runs[index].State);
            }
            else
            {
                BinaryPrimitives.WriteUInt32BigEndian(target, (uint)runs[index].Length);
                BinaryPrimitives.WriteUInt32BigEndian(target[4..], runs[index].State);
            }
        }

        worker.FinishReply(reply.Length);
    }
}
