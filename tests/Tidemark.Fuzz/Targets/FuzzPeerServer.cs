using System.Buffers.Binary;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Fuzz.Targets;

/// <summary>
/// A server that answers what a client asks, rightly or wrongly as its input decides: the client's side of a connection
/// whose other end exists only as far as the client looks at it.
/// </summary>
/// <remarks>What the client sends is parsed when it next receives; a receive with nothing to answer waits for more.
/// When the decisions are used up, the server hangs up.</remarks>
internal sealed class FuzzPeerServer(byte[] decisions) : NbdTransport
{
    private const int DiskLength = 1 << 20;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(1);
    private static readonly OptionReplyType[] s_types =
    [
        OptionReplyType.Ack, OptionReplyType.Server, OptionReplyType.Info, OptionReplyType.MetaContext,
    ];

    private readonly Lock _gate = new();
    private readonly ManualResetEventSlim _told = new();
    private readonly List<byte> _said = [];
    private readonly Queue<byte> _answer = new();
    private int _at;
    private bool _greeted;
    private bool _flagged;
    private bool _transmission;
    private bool _extended;
    private bool _structured;
    private bool _hangUp;
    private volatile bool _aborted;

    internal override string Peer => "the fuzzed server";

    internal override bool HasWaitingBytes => _answer.Count > 0;

    internal override int Receive(Span<byte> target)
    {
        while (true)
        {
            _told.Reset();
            lock (_gate)
            {
                var said = _said.Count;
                if (_aborted || (_answer.Count == 0 && !Advance()))
                {
                    return 0;
                }

                if (_answer.Count > 0)
                {
                    return Take(target);
                }

                if (_said.Count < said)
                {
                    continue;
                }
            }

            // A reply that never ends leaves both sides waiting; real clients have their own patience for that.
            if (_hangUp || !_told.Wait(s_patience))
            {
                return 0;
            }
        }
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
        lock (_gate)
        {
            if (_aborted)
            {
                throw new IOException("the server hung up");
            }

            _said.AddRange(first);
            _said.AddRange(second);
        }

        _told.Set();
    }

    internal override bool TrySend(ReadOnlySpan<byte> bytes) => false;

    internal override void Abort()
    {
        _aborted = true;
        _told.Set();
    }

    internal override void EndReceiving() => Abort();

    internal override void EndSending() => Abort();

    public override void Dispose() => Abort();

    private int Take(Span<byte> target)
    {
        var count = Math.Min(target.Length, _answer.Count);
        for (var index = 0; index < count; index++)
        {
            target[index] = _answer.Dequeue();
        }

        return count;
    }

    private byte Decision() => _at < decisions.Length ? decisions[_at++] : (byte)0;

    // Makes the answer to what was said next; false when the decisions are used up: the end.
    private bool Advance()
    {
        if (_at >= decisions.Length)
        {
            return false;
        }

        if (!_greeted)
        {
            _greeted = true;
            Number(NbdMagic.Greeting, 8);
            Number(NbdMagic.Option, 8);
            Number(Decision() is var flags && flags < 200 ? 3u : flags, 2);
        }
        else if (!_flagged)
        {
            _flagged = Drop(4);
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

    private bool Drop(int count)
    {
        if (_said.Count < count)
        {
            return false;
        }

        _said.RemoveRange(0, count);
        return true;
    }

    private void AnswerOption()
    {
        var said = _said.ToArray();
        if (said.Length < 16)
        {
            return;
        }

        var option = (NbdOption)BinaryPrimitives.ReadUInt32BigEndian(said.AsSpan(8));
        var length = BinaryPrimitives.ReadInt32BigEndian(said.AsSpan(12));
        if (!Drop(16 + length))
        {
            return;
        }

        var decision = Decision();
        if (option == NbdOption.ExportName)
        {
            Number(DiskLength, 8);
            Number(decision, 2);
            Fill(124);
            _transmission = true;
            return;
        }

        for (var extra = decision & 3; extra > 0 && option is not NbdOption.StructuredReply; extra--)
        {
            Information(option);
        }

        var refused = decision > 240;
        OptionReply(option, refused ? (OptionReplyType)(0x8000_0000u + Decision()) : OptionReplyType.Ack, 0);
        _extended |= !refused && option == NbdOption.ExtendedHeaders;
        _structured |= !refused && option == NbdOption.StructuredReply;
        _transmission |= !refused && option == NbdOption.Go;
    }

    private void Information(NbdOption option)
    {
        var decision = Decision();
        if (decision > 200)
        {
            OptionReply(option, s_types[decision & 3], decision & 63);
            Fill(decision & 63);
        }
        else if (option is NbdOption.Go or NbdOption.Info)
        {
            OptionReply(option, OptionReplyType.Info, 12);
            Number(0, 2);
            Number(decision < 180 ? DiskLength : ulong.MaxValue >> (decision & 63), 8);
            Number((ulong)(decision << 8 | Decision()), 2);
        }
        else
        {
            var name = "base:allocation"u8;
            OptionReply(option, OptionReplyType.MetaContext, 4 + name.Length);
            Number(decision < 128 ? 1u : decision, 4);
            foreach (var letter in name)
            {
                _answer.Enqueue(letter);
            }
        }
    }

    private void OptionReply(NbdOption option, OptionReplyType type, int length)
    {
        Number(NbdMagic.OptionReply, 8);
        Number((ulong)option, 4);
        Number((ulong)type, 4);
        Number((ulong)length, 4);
    }

    private void AnswerRequest()
    {
        var size = RequestHeader.SizeOf(_extended);
        if (_said.Count < size)
        {
            return;
        }

        _ = RequestHeader.TryRead(_said.GetRange(0, size).ToArray(), _extended, out var request);
        if (!Drop(size + (int)request.PayloadLength(_extended)))
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
            Number(NbdMagic.SimpleReply, 4);
            Number(decision < 200 ? 0u : decision, 4);
            Number(cookie, 8);
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
        var length = type switch
        {
            _ when decision > 220 => Decision(),
            ReplyType.OffsetData => 8 + (int)request.Length,
            ReplyType.OffsetHole => 12,
            ReplyType.BlockStatus => 12,
            ReplyType.ExtendedBlockStatus => 24,
            _ => 0,
        };
        _hangUp |= last && decision >= 250;
        var header = new byte[ChunkHeader.SizeOf(_extended)];
        new ChunkHeader(last && decision < 250 ? ReplyFlags.Done : 0, type, cookie, (ulong)length, request.Offset)
            .Write(header, _extended);
        foreach (var one in header)
        {
            _answer.Enqueue(one);
        }

        if (type is ReplyType.OffsetData or ReplyType.OffsetHole && length >= 12)
        {
            Number(request.Offset, 8);
            length -= 8;
        }

        Fill(length);
    }

    private void Number(ulong number, int width)
    {
        for (var shift = (width - 1) * 8; shift >= 0; shift -= 8)
        {
            _answer.Enqueue((byte)(number >> shift));
        }
    }

    private void Fill(int count)
    {
        var from = Math.Min(count, 32);
        for (var index = 0; index < count; index++)
        {
            _answer.Enqueue(index < from ? Decision() : (byte)0);
        }
    }
}
