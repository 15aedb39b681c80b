using System.Buffers.Binary;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server.Commands;

/// <summary>NBD_CMD_READ: the bytes are read to where they are sent from.</summary>
internal static class ReadCommand
{
    private const int OffsetLength = 8;
    private const int HolePayload = OffsetLength + 4;

    /// <summary>From this length on, bytes that are all zero are sent as
    /// a hole. One byte that is not ends the search.</summary>
    private const int ShortestHole = 4096;

    /// <summary>The pieces in which a read that failed is tried again to find where it fails.</summary>
    private const int SearchPiece = 64 * 1024;

    internal static void Serve(TransmissionWorker worker, in RequestHeader request)
    {
        var length = (int)request.Length;
        if (!worker.StructuredReplies)
        {
            var simple = worker.BuildReply(SimpleReplyHeader.Size + length);
            worker.Wait(worker.Export.Backend.ReadAsync((long)request.Offset, simple[SimpleReplyHeader.Size..]));
            new SimpleReplyHeader(NbdError.None, request.Cookie).Write(simple.Span);
            worker.FinishReply(simple.Length);
            return;
        }

        if (length == 0)
        {
            // A data chunk may not be empty.
            worker.ReplySuccessInChunk(request);
            return;
        }

        var dataHeader = worker.ChunkHeaderSize + OffsetLength;
        var reply = worker.BuildReply(dataHeader + length);
        var payload = reply[dataHeader..];
        try
        {
            worker.Wait(worker.Export.Backend.ReadAsync((long)request.Offset, payload));
        }
        catch (BlockException exception) when (exception.Kind == BlockErrorKind.Io && MayFragment(request))
        {
            ServeUpToError(worker, request, reply, exception);
            return;
        }

        var span = reply.Span;
        if (MayFragment(request) && length >= ShortestHole && !payload.Span.ContainsAnyExcept((byte)0))
        {
            worker.WriteChunkHeader(span, request, ReplyType.OffsetHole, HolePayload, ReplyFlags.Done);
            BinaryPrimitives.WriteUInt64BigEndian(span[worker.ChunkHeaderSize..], request.Offset);
            BinaryPrimitives.WriteUInt32BigEndian(span[dataHeader..], (uint)length);
            worker.FinishReply(worker.ChunkHeaderSize + HolePayload);
            return;
        }

        SendData(worker, request, span, length, ReplyFlags.Done);
    }

    private static bool MayFragment(in RequestHeader request) => (request.Flags & CommandFlags.DontFragment) == 0;

    // The client gets what can be read before the place that cannot, and the offset of that: a data chunk, then an
    // error chunk with offset. The whole read has failed once already, so speed is of no interest.
    private static void ServeUpToError(
        TransmissionWorker worker, in RequestHeader request, Memory<byte> reply, BlockException failure)
    {
        var payload = reply[(worker.ChunkHeaderSize + OffsetLength)..];
        var good = 0;
        var piece = SearchPiece;
        var finest = Math.Max(512, worker.Export.MinimumBlockSize);
        while (good < payload.Length)
        {
            var count = Math.Min(piece, payload.Length - good);
            try
            {
                worker.Wait(worker.Export.Backend.ReadAsync((long)request.Offset + good, payload.Slice(good, count)));
                good += count;
            }
            catch (BlockException exception)
            {
                failure = exception;
                if (piece <= finest)
                {
                    break;
                }

                piece = Math.Max(finest, piece / 8);
            }
        }

        if (good == payload.Length)
        {
            // It can be read after all: the failure was a passing one.
            SendData(worker, request, reply.Span, good, ReplyFlags.Done);
            return;
        }

        if (good > 0)
        {
            SendData(worker, request, reply.Span, good, ReplyFlags.None);
        }

        worker.ReplyErrorAt(request, NbdErrors.FromKind(failure.Kind), failure.Message, request.Offset + (ulong)good);
    }

    private static void SendData(
        TransmissionWorker worker, in RequestHeader request, Span<byte> reply, int length, ReplyFlags flags)
    {
        worker.WriteChunkHeader(reply, request, ReplyType.OffsetData, OffsetLength + length, flags);
        BinaryPrimitives.WriteUInt64BigEndian(reply[worker.ChunkHeaderSize..], request.Offset);
        worker.FinishReply(worker.ChunkHeaderSize + OffsetLength + length);
    }
}
