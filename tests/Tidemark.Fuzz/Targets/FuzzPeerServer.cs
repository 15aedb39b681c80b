using System.Buffers.Binary;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Fuzz.Targets;

/// <summary>
/// A server that answers what a client asks, rightly or wrongly as its input decides: the client's side of a connection
/// whose other end exists only as far as the client looks at it.
/// </summary>
/// <remarks>For a client that sends and receives on one thread: what it said is parsed when it next receives, so a
/// receive for which there is no answer would wait for ever, and is the connection's end. So is the end of the
/// decisions. Used again for each input.</remarks>
internal sealed class FuzzPeerServer : NbdTransport
{
    private const int DiskLength = 1 << 20;
    private static readonly OptionReplyType[] s_types =
    [
        OptionReplyType.Ack, OptionReplyType.Server, OptionReplyType.Info, OptionReplyType.MetaContext,
    ];

    private readonly ByteQueue _said = new();
    private readonly ByteQueue _answer = new();
    private byte[] _decisions = [];
    private int _at;
    private int _sendsLeft;
    private bool _greeted;
    private bool _flagged;
    private bool _transmission;
    private bool _extended;
    private bool _structured;
    private bool _hangUp;
    private bool _aborted;
    private bool _sendingEnded;

    internal override string Peer => "the fuzzed server";

    internal override bool HasWaitingBytes => _answer.Count > 0;

    /// <summary>Begins a connection that is decided by the bytes from <paramref name="start"/> on.</summary>
    internal void Begin(byte[] decisions, int start)
    {
        _said.Clear();
        _answer.Clear();
        _decisions = decisions;
        _at = start;
        _sendsLeft = int.MaxValue;
        _greeted = _flagged = _transmission = _extended = _structured = false;
        _hangUp = _aborted = _sendingEnded = false;
    }

    internal override int Receive(Span<byte> target)
    {
        while (_answer.Count == 0)
        {
            var (said, at) = (_said.Count, _at);
            if (_aborted || _hangUp || !Advance() || (_answer.Count == 0 && _said.Count == said && _at == at))
            {
                return 0;
            }
        }

        return _aborted ? 0 : _answer.Take(target);
    }

    internal override int ReceiveAll(Span<byte> target)
    {
        var received = 0;
        while (received < target.Length && Receive(target[received..]) is > 0 and var count)
        {
            received += count;
        }

        return received;
    }

    internal override void Send(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second)
    {
        if (_aborted || _sendingEnded || --_sendsLeft < 0)
        {
            throw new IOException("the server hung up");
        }

        _said.Add(first);
        _said.Add(second);
    }

    internal override bool TrySend(ReadOnlySpan<byte> bytes) => false;

    internal override void Abort() => _aborted = true;

    internal override void EndReceiving() => Abort();

    internal override void EndSending() => _sendingEnded = true;

    public override void Dispose() => Abort();

    private byte Decision() => _at < _decisions.Length ? _decisions[_at++] : (byte)0;

    // Makes the answer to what was said next; false when the decisions are used up: the end.
    private bool Advance()
    {
        if (_at >= _decisions.Length)
        {
            return false;
        }

        if (!_greeted)
        {
            _greeted = true;
            _answer.AddNumber(NbdMagic.Greeting, 8);
            _answer.AddNumber(NbdMagic.Option, 8);
            var flags = Decision();
            _answer.AddNumber(flags < 200 ? 3u : flags, 2);
            _sendsLeft = flags is >= 180 and < 200 ? Decision() & 15 : int.MaxValue;
        }
        else if (!_flagged)
        {
            _flagged = _said.TryDrop(4);
        }
        else if (_transmission)
        {
            AnswerRequest();
        }
        else
        {
            AnswerOption();
        }

        return true;
    }

    private void AnswerOption()
    {
        var said = _said.Waiting;
        if (said.Length < 16)
        {
            return;
        }

        var option = (NbdOption)BinaryPrimitives.ReadUInt32BigEndian(said[8..]);
        var length = BinaryPrimitives.ReadInt32BigEndian(said[12..]);
        if (!_said.TryDrop(16 + length))
        {
            return;
        }

        var decision = Decision();
        if (option == NbdOption.Abort)
        {
            _hangUp = true;
            return;
        }

        if (option == NbdOption.ExportName)
        {
            _answer.AddNumber(DiskLength, 8);
            _answer.AddNumber(decision, 2);
            Fill(124);
            _transmission = true;
            return;
        }

        for (var extra = decision & 3; extra > 0 && IsTold(option); extra--)
        {
            Information(option);
        }

        var refused = decision > 240;
        OptionReply(option, refused ? (OptionReplyType)(0x8000_0000u + Decision()) : OptionReplyType.Ack, 0);
        _extended |= !refused && option == NbdOption.ExtendedHeaders;
        _structured |= !refused && option == NbdOption.StructuredReply;
        _transmission |= !refused && option == NbdOption.Go;
    }

    private static bool IsTold(NbdOption option) =>
        option is not (NbdOption.StructuredReply or NbdOption.ExtendedHeaders);

    private void Information(NbdOption option)
    {
        var decision = Decision();
        if (decision > 200)
        {
            OptionReply(option, s_types[decision & 3], decision & 63);
            Fill(decision & 63);
        }
        else if (option is NbdOption.Go or NbdOption.Info && decision > 190)
        {
            OptionReply(option, OptionReplyType.Info, 14);
            _answer.AddNumber((ulong)NbdInfo.BlockSize, 2);
            _answer.AddNumber(1UL << (Decision() & 31), 4);
            _answer.AddNumber(1UL << (Decision() & 31), 4);
            _answer.AddNumber(1UL << (Decision() & 31), 4);
        }
        else if (option is NbdOption.Go or NbdOption.Info)
        {
            OptionReply(option, OptionReplyType.Info, 12);
            _answer.AddNumber((ulong)NbdInfo.Export, 2);
            _answer.AddNumber(decision < 180 ? DiskLength : ulong.MaxValue >> (decision & 63), 8);
            _answer.AddNumber((ulong)(decision << 8 | Decision()), 2);
        }
        else if (option == NbdOption.List)
        {
            OptionReply(option, OptionReplyType.Server, 4 + 3);
            _answer.AddNumber(decision < 160 ? 3u : decision, 4);
            _answer.Add("vda"u8);
        }
        else
        {
            var name = decision % 3 == 0 ? "qemu:allocation-depth"u8 : "base:allocation"u8;
            OptionReply(option, OptionReplyType.MetaContext, 4 + name.Length);
            _answer.AddNumber(decision < 128 ? 1u + (uint)(decision % 3) : decision, 4);
            _answer.Add(name);
        }
    }

    private void OptionReply(NbdOption option, OptionReplyType type, int length)
    {
        _answer.AddNumber(NbdMagic.OptionReply, 8);
        _answer.AddNumber((ulong)option, 4);
        _answer.AddNumber((ulong)type, 4);
        _answer.AddNumber((ulong)length, 4);
    }

    private void AnswerRequest()
    {
        var size = RequestHeader.SizeOf(_extended);
        if (_said.Count < size)
        {
            return;
        }

        _ = RequestHeader.TryRead(_said.Waiting[..size], _extended, out var request);
        if (!_said.TryDrop(size + (int)request.PayloadLength(_extended)))
        {
            return;
        }

        if (request.Command == NbdCommand.Disconnect)
        {
            _hangUp = true;
            return;
        }

        var decision = Decision();
        var cookie = decision == 255 ? Decision() : request.Cookie;
        if (!_extended && (!_structured || decision > 250))
        {
            _answer.AddNumber(NbdMagic.SimpleReply, 4);
            _answer.AddNumber(decision < 200 ? 0u : decision, 4);
            _answer.AddNumber(cookie, 8);
            Fill(decision < 200 && request.Command == NbdCommand.Read ? (int)request.Length : 0);
            return;
        }

        for (var chunks = decision & 3; chunks > 0; chunks--)
        {
            Chunk(request, cookie, last: false);
        }

        Chunk(request, cookie, last: true);
    }

    private void Chunk(in RequestHeader request, ulong cookie, bool last)
    {
        var decision = Decision();
        var type = request.Command switch
        {
            _ when decision > 230 => (ReplyType)(Decision() | (decision & 1) << 15),
            NbdCommand.Read when decision < 100 => ReplyType.OffsetData,
            NbdCommand.Read => ReplyType.OffsetHole,
            NbdCommand.BlockStatus => _extended ? ReplyType.ExtendedBlockStatus : ReplyType.BlockStatus,
            _ => ReplyType.None,
        };

        // A read in two halves, if the decision is odd: what comes before the last chunk is its first half.
        var half = request.Command == NbdCommand.Read && (decision & 1) != 0 ? (uint)request.Length / 2 : 0;
        var offset = request.Offset + (last ? half : 0);
        var covered = half == 0 ? (uint)request.Length : half;
        var length = type switch
        {
            _ when decision > 220 => Decision(),
            ReplyType.OffsetData => 8 + (int)covered,
            ReplyType.OffsetHole => 12,
            ReplyType.BlockStatus => 12,
            ReplyType.ExtendedBlockStatus => 24,
            _ => 0,
        };
        _hangUp |= last && decision >= 250;
        new ChunkHeader(last && decision < 250 ? ReplyFlags.Done : 0, type, cookie, (ulong)length, request.Offset)
            .Write(_answer.Room(ChunkHeader.SizeOf(_extended)), _extended);
        if (type is ReplyType.OffsetData or ReplyType.OffsetHole && length >= 12)
        {
            _answer.AddNumber(offset, 8);
            length -= 8;
        }

        if (type == ReplyType.OffsetHole && length == 4)
        {
            _answer.AddNumber(covered, 4);
        }
        else if (type is ReplyType.BlockStatus or ReplyType.ExtendedBlockStatus && length is 12 or 24)
        {
            Descriptor(request, Decision());
        }
        else
        {
            Fill(length);
        }
    }

    // The right one for most decisions.
    private void Descriptor(in RequestHeader request, byte decision)
    {
        var width = _extended ? 8 : 4;
        _answer.AddNumber(decision < 200 ? 1u + (uint)(decision % 3) : decision, 4);
        if (_extended)
        {
            _answer.AddNumber(1, 4);
        }

        _answer.AddNumber(decision < 180 ? request.Length >> (decision & 3) : decision, width);
        _answer.AddNumber(decision, width);
    }

    private void Fill(int count)
    {
        var room = _answer.Room(count);
        var decided = Math.Min(count, 32);
        for (var index = 0; index < decided; index++)
        {
            room[index] = Decision();
        }

        room[decided..].Clear();
    }
}
