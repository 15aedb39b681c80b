using System.Buffers.Binary;
using System.Text;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Client;

// Receiving: one reply or chunk at a time. Everything here runs on the connection's thread; what throws, ends it.
public sealed partial class NbdClient
{
    // False when the server has closed between two replies.
    private bool ReceiveReply()
    {
        if (_export.ExtendedHeaders)
        {
            return ReceiveExtended();
        }

        if (!_receiver.TryFill(4))
        {
            return false;
        }

        var magic = BinaryPrimitives.ReadUInt32BigEndian(_receiver.Waiting);
        if (magic == NbdMagic.SimpleReply)
        {
            ReceiveSimple(SimpleReplyHeader.Read(_receiver.Take(SimpleReplyHeader.Size)));
        }
        else if (magic == NbdMagic.StructuredReply && HasStructuredReplies)
        {
            var chunk = ChunkHeader.Read(_receiver.Take(ChunkHeader.Size));
            ReceiveChunk(Find(chunk.Cookie), chunk);
        }
        else
        {
            throw NbdException.Protocol($"a reply has the wrong magic number 0x{magic:x8}");
        }

        return true;
    }

    private bool ReceiveExtended()
    {
        if (!_receiver.TryFill(ChunkHeader.ExtendedSize))
        {
            return false;
        }

        var header = _receiver.Take(ChunkHeader.ExtendedSize);
        var magic = BinaryPrimitives.ReadUInt32BigEndian(header);
        if (magic != NbdMagic.ExtendedReply)
        {
            throw NbdException.Protocol($"a reply has the wrong magic number 0x{magic:x8} for extended headers");
        }

        var chunk = ChunkHeader.Read(header, extended: true);
        var place = Find(chunk.Cookie);
        if (chunk.Offset != place.Header.Offset)
        {
            throw NbdException.Protocol(
                $"a reply with the offset {chunk.Offset} to a request with the offset {place.Header.Offset}");
        }

        ReceiveChunk(place, chunk);
        return true;
    }

    private void ReceiveSimple(SimpleReplyHeader reply)
    {
        var place = Find(reply.Cookie);
        var command = place.Header.Command;
        if (HasStructuredReplies && command == NbdCommand.Read)
        {
            throw NbdException.Protocol("a simple reply to a read, though structured replies were negotiated");
        }

        if (reply.Error != NbdError.None)
        {
            place.Error ??= Refused(place, reply.Error, "");
        }
        else if (command == NbdCommand.BlockStatus)
        {
            throw NbdException.Protocol("a simple reply to a request for block status");
        }
        else if (command == NbdCommand.Read)
        {
            _receiver.CopyTo(place.TakeTarget());
        }

        Finish(place);
    }

    private void ReceiveChunk(PendingRequest place, in ChunkHeader chunk)
    {
        if (chunk.IsError)
        {
            ReceiveError(place, chunk);
        }
        else
        {
            switch (chunk.Type)
            {
                case ReplyType.None:
                    if (chunk.Length != 0 || !chunk.IsDone)
                    {
                        throw NbdException.Protocol("an empty chunk that is not empty, or not the last");
                    }

                    break;
                case ReplyType.OffsetData when place.Header.Command == NbdCommand.Read:
                    ReceiveData(place, chunk);
                    break;
                case ReplyType.OffsetHole when place.Header.Command == NbdCommand.Read:
                    ReceiveHole(place, chunk);
                    break;
                case ReplyType.BlockStatus
                    when place.Header.Command == NbdCommand.BlockStatus && !_export.ExtendedHeaders:
                case ReplyType.ExtendedBlockStatus
                    when place.Header.Command == NbdCommand.BlockStatus && _export.ExtendedHeaders:
                    ReceiveStatus(place, chunk);
                    break;
                default:
                    throw NbdException.Protocol(
                        $"a chunk of type {(ushort)chunk.Type} in reply to {place.Header.Command}");
            }
        }

        if (chunk.IsDone)
        {
            CheckWhole(place);
            Finish(place);
        }
    }

    private static void CheckWhole(PendingRequest place)
    {
        if (place.Error is not null)
        {
            return;
        }

        if (place is { Header.Command: NbdCommand.Read, Length: > 0 }
            && !place.Coverage.Covers((long)place.Header.Offset, place.End))
        {
            throw NbdException.Protocol("the chunks of a read do not cover it");
        }

        if (place.Header.Command == NbdCommand.BlockStatus && !place.HasStatus)
        {
            throw NbdException.Protocol("no chunk for the wanted context in a reply to a request for block status");
        }
    }

    private void ReceiveData(PendingRequest place, ChunkHeader chunk)
    {
        if (chunk.Length < 9)
        {
            throw NbdException.Protocol($"a data chunk of {chunk.Length} bytes");
        }

        var offset = _receiver.TakeUInt64();
        Cover(place, offset, chunk.Length - 8);
        _receiver.CopyTo(TargetOf(place, offset, (int)(chunk.Length - 8)));
    }

    private void ReceiveHole(PendingRequest place, ChunkHeader chunk)
    {
        if (chunk.Length != 12)
        {
            throw NbdException.Protocol($"a hole chunk of {chunk.Length} bytes");
        }

        var offset = _receiver.TakeUInt64();
        var length = _receiver.TakeUInt32();
        Cover(place, offset, length);
        if (length == place.Length && place.Late is { } late)
        {
            place.Late = null;
            late.SetZero();
            return;
        }

        TargetOf(place, offset, (int)length).Clear();
    }

    private static Span<byte> TargetOf(PendingRequest place, ulong offset, int length) =>
        place.TakeTarget().Slice((int)(offset - place.Header.Offset), length);

    // Notes that these bytes of a read come; refuses what is not its own, or has come before.
    private static void Cover(PendingRequest place, ulong offset, ulong length)
    {
        var first = place.Header.Offset;
        if (length == 0 || offset < first || offset - first > place.Header.Length
            || length > place.Header.Length - (offset - first))
        {
            throw NbdException.Protocol(
                $"a chunk of {length} bytes at {offset} lies outside its read of {place.Header.Length} bytes "
                + $"at {first}");
        }

        if (!place.Coverage.TryAdd((long)offset, (long)(offset + length)))
        {
            throw NbdException.Protocol(
                $"a chunk at {offset} overlaps an earlier one, or the read comes in too many pieces");
        }
    }

    private void ReceiveStatus(PendingRequest place, in ChunkHeader chunk)
    {
        var (prefix, descriptor) = _export.ExtendedHeaders ? (8UL, 16UL) : (4UL, 8UL);
        var count = chunk.Length < prefix ? 0 : (chunk.Length - prefix) / descriptor;
        if (count is 0 or > NbdLimits.MaximumExtentsReceived || prefix + (count * descriptor) != chunk.Length)
        {
            throw NbdException.Protocol($"a block status chunk of {chunk.Length} bytes");
        }

        var context = _receiver.TakeUInt32();
        if (_export.ExtendedHeaders && _receiver.TakeUInt32() != count)
        {
            throw NbdException.Protocol("a block status chunk whose count of descriptors is not that of its length");
        }

        if (context != place.ContextId)
        {
            if (!_export.Contexts.Values.Contains(context))
            {
                throw NbdException.Protocol($"block status of the context {context}, which was not selected");
            }

            _receiver.Skip((long)(count * descriptor));
            return;
        }

        if (place.HasStatus)
        {
            throw NbdException.Protocol("two block status chunks for one context");
        }

        place.HasStatus = true;
        ReceiveDescriptors(place, count);
    }

    private void ReceiveDescriptors(PendingRequest place, ulong count)
    {
        var offset = (long)place.Header.Offset;
        for (ulong index = 0; index < count; index++)
        {
            ulong length, state;
            if (_export.ExtendedHeaders)
            {
                (length, state) = (_receiver.TakeUInt64(), _receiver.TakeUInt64());
            }
            else
            {
                (length, state) = (_receiver.TakeUInt32(), _receiver.TakeUInt32());
            }

            if (length == 0 || offset >= place.End)
            {
                throw NbdException.Protocol("an extent of no length, or behind the end of the request");
            }

            // Only the last extent may reach past the request; what is past it is not ours to use.
            var used = (long)Math.Min(length, (ulong)(place.End - offset));
            place.Extents!.Add(new NbdExtent(offset, used, state));
            offset += used;
        }
    }

    private void ReceiveError(PendingRequest place, in ChunkHeader chunk)
    {
        const int fields = 6, offsetField = 8;
        var tail = chunk.Type == ReplyType.ErrorOffset ? offsetField : 0;
        if (chunk.Length < (ulong)(fields + tail) || chunk.Length > NbdLimits.MaximumErrorChunkLength)
        {
            throw NbdException.Protocol($"an error chunk of {chunk.Length} bytes");
        }

        var rest = (int)chunk.Length - fields;
        var error = (NbdError)_receiver.TakeUInt32();
        var messageLength = _receiver.TakeUInt16();
        if (messageLength > rest - tail || messageLength > NbdLimits.MaximumStringLength || error == NbdError.None)
        {
            throw NbdException.Protocol("an error chunk without an error, or with a message longer than itself");
        }

        var message = Encoding.UTF8.GetString(_receiver.Take(messageLength));
        rest -= messageLength;
        long? at = null;
        if (tail > 0)
        {
            var offset = _receiver.TakeUInt64();
            rest -= offsetField;
            if (offset < place.Header.Offset || offset - place.Header.Offset > (ulong)place.Length)
            {
                throw NbdException.Protocol($"an error at {offset}, outside of its request");
            }

            at = (long)offset;
        }

        // An error of a kind that is not known here has its fields behind the message.
        _receiver.Skip(rest);
        place.Error ??= Refused(place, error, message, at);
    }

    private static NbdException Refused(PendingRequest place, NbdError error, string message, long? at = null)
    {
        var name = Enum.IsDefined(error) ? error.ToString() : $"error {(uint)error}";
        return new NbdException(
            error,
            $"the NBD server answers {name} to {place.Header.Command} of {place.Length} bytes "
            + $"at {place.Header.Offset}"
                + (at is { } offset ? $", failing at {offset}" : "")
                + (message.Length > 0 ? $": {message}" : ""),
            at);
    }

    private PendingRequest Find(ulong cookie)
    {
        var index = (uint)cookie;
        if (index < _places.Length)
        {
            var place = _places[index];
            lock (_gate)
            {
                if (place.IsRegistered && place.Header.Cookie == cookie)
                {
                    return place;
                }
            }
        }

        throw NbdException.Protocol($"a reply with the cookie 0x{cookie:x}, which is not in flight");
    }

    private void Finish(PendingRequest place)
    {
        bool leaves;
        lock (_gate)
        {
            place.IsRegistered = false;
            _inFlight--;
            if (place.Error is { Error: NbdError.ESHUTDOWN })
            {
                // The server goes: no new request, and a farewell when the last of those under way is answered.
                _failure ??= place.Error;
                _leaves = true;
            }

            leaves = _leaves && _inFlight == 0;
        }

        if (leaves)
        {
            SendDisconnect();
        }

        place.Complete(place.Error);
    }
}
