using System.Buffers.Binary;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server.Commands;

/// <summary>NBD_CMD_READ: the bytes are read to where they are sent from.</summary>
internal static class ReadCommand
{
    private const int DataHeader = ChunkHeader.Size + 8;
    private const int HoleLength = DataHeader + 4;

    /// <summary>From this length on, bytes that are all zero are sent as
    /// a hole. One byte that is not ends the search.</summary>
    private const int ShortestHole = 4096;

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
            var none = worker.BuildReply(ChunkHeader.Size);
            new ChunkHeader(ReplyFlags.Done, ReplyType.None, request.Cookie, 0).Write(none.Span);
            worker.FinishReply(none.Length);
            return;
        }

        var reply = worker.BuildReply(DataHeader + length);
        var payload = reply[DataHeader..];
        worker.Wait(worker.Export.Backend.ReadAsync((long)request.Offset, payload));
        var span = reply.Span;
        var mayFragment = (request.Flags & CommandFlags.DontFragment) == 0;
        if (mayFragment && length >= ShortestHole && !payload.Span.ContainsAnyExcept((byte)0))
        {
            new ChunkHeader(ReplyFlags.Done, ReplyType.OffsetHole, request.Cookie, 12).Write(span);
            BinaryPrimitives.WriteUInt64BigEndian(span[ChunkHeader.Size..], request.Offset);
            BinaryPrimitives.WriteUInt32BigEndian(span[DataHeader..], request.Length);
            worker.FinishReply(HoleLength);
            return;
        }

        new ChunkHeader(ReplyFlags.Done, ReplyType.OffsetData, request.Cookie, 8 + request.Length).Write(span);
        BinaryPrimitives.WriteUInt64BigEndian(span[ChunkHeader.Size..], request.Offset);
        worker.FinishReply(reply.Length);
    }
}
