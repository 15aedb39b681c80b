using System.Buffers.Binary;
using System.Text;
using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server.Commands;

namespace Tidemark.Nbd.Server;

/// <summary>
/// One thread of a connection: receives a request while it leads, serves it, gathers the reply and sends it. See the
/// comment of Transmission for who leads when.
/// </summary>
/// <remarks>Replies are built in one buffer, header and payload side by side, so that a read lands where it is sent
/// from. Its layout: <c>[0, _sent)</c> has left, <c>[_sent, _filled)</c> is finished replies, behind that a reply is
/// being built. Nothing is allocated for a request once the buffers are there.</remarks>
internal sealed class TransmissionWorker
{
    /// <summary>Room for the replies that gather; a longer reply gets a buffer of its own size.</summary>
    private const int GatherSize = Transmission.SmallRequest + ServerBuffers.HeaderRoom;

    private const int MaximumMessageLength = 1024;

    private readonly Transmission _transmission;
    private readonly object _waitGate = new();
    private readonly Action _wake;

    private ServerBuffer? _output;
    private int _sent;
    private int _filled;
    private ServerBuffer? _payload;
    private long _reserved;
    private bool _leading;
    private bool _woken;

    internal TransmissionWorker(Transmission transmission)
    {
        _transmission = transmission;
        _wake = Wake;
    }

    internal NbdExport Export => _transmission.Export;

    internal bool StructuredReplies => _transmission.StructuredReplies;

    internal bool ExtendedHeaders => _transmission.ExtendedHeaders;

    internal int ChunkHeaderSize => ChunkHeader.SizeOf(_transmission.ExtendedHeaders);

    internal IReadOnlyList<ExportContext> Contexts => _transmission.Contexts;

    /// <summary>The payload of the request that is being served.</summary>
    internal ReadOnlyMemory<byte> Payload { get; private set; }

    /// <summary>A list for block status, kept for the next time.</summary>
    internal ExtentList Extents { get; } = new();

    /// <summary>What a block status chunk will say, kept for the next time.</summary>
    internal List<StatusRun> StatusRuns { get; } = [];

    /// <summary>The thread.</summary>
    internal void Run()
    {
        try
        {
            while (_transmission.TryLead())
            {
                _leading = true;
                if (!Lead())
                {
                    break;
                }
            }
        }
        catch (EndOfStreamException)
        {
            // The client closed in the middle of a request. Replies under way on other threads may still leave.
            _transmission.End();
        }
        catch (Exception)
        {
            // A broken connection, or a client that broke the protocol: the end of this connection and of nothing else.
            _transmission.Fail();
        }
        finally
        {
            ReturnBuffers();
            ReleaseReserved();
            _transmission.Leave();
        }
    }

    /// <summary>Makes room for a reply behind the finished ones; the memory is good until the next reply.</summary>
    internal Memory<byte> BuildReply(int length)
    {
        if (_output is null || _output.Length - _filled < length)
        {
            SendFinished();
            _sent = _filled = 0;
            if (_output is null || _output.Length < length)
            {
                GiveBack(ref _output);
                _output = _transmission.Buffers.Take(Math.Max(length, GatherSize));
            }
        }

        return _output.Memory.Slice(_filled, length);
    }

    /// <summary>The reply that was being built is finished.</summary>
    internal void FinishReply(int length) => _filled += length;

    /// <summary>Answers success without payload.</summary>
    internal void ReplySuccess(in RequestHeader request)
    {
        if (ExtendedHeaders)
        {
            ReplySuccessInChunk(request);
            return;
        }

        new SimpleReplyHeader(NbdError.None, request.Cookie).Write(BuildReply(SimpleReplyHeader.Size).Span);
        FinishReply(SimpleReplyHeader.Size);
    }

    /// <summary>Answers success without payload, in a chunk.</summary>
    internal void ReplySuccessInChunk(in RequestHeader request)
    {
        var reply = BuildReply(ChunkHeaderSize);
        WriteChunkHeader(reply.Span, request, ReplyType.None, 0, ReplyFlags.Done);
        FinishReply(reply.Length);
    }

    /// <summary>Writes the header of a chunk, compact or extended.</summary>
    internal void WriteChunkHeader(
        Span<byte> target, in RequestHeader request, ReplyType type, int payloadLength, ReplyFlags flags) =>
        new ChunkHeader(flags, type, request.Cookie, (ulong)payloadLength, request.Offset)
            .Write(target, ExtendedHeaders);

    /// <summary>Answers an error, with words where the client negotiated them.</summary>
    internal void ReplyError(in RequestHeader request, NbdError error, string message)
    {
        if (!StructuredReplies)
        {
            new SimpleReplyHeader(error, request.Cookie).Write(BuildReply(SimpleReplyHeader.Size).Span);
            FinishReply(SimpleReplyHeader.Size);
            return;
        }

        ReplyErrorChunk(request, ReplyType.Error, error, message, offset: 0);
    }

    /// <summary>Answers an error at an offset of the export, in a chunk.</summary>
    internal void ReplyErrorAt(in RequestHeader request, NbdError error, string message, ulong offset) =>
        ReplyErrorChunk(request, ReplyType.ErrorOffset, error, message, offset);

    private void ReplyErrorChunk(
        in RequestHeader request, ReplyType type, NbdError error, string message, ulong offset)
    {
        const int errorFields = 6;
        const int offsetField = 8;
        var start = ChunkHeaderSize;
        var reply = BuildReply(start + errorFields + MaximumMessageLength + offsetField).Span;
        Encoder encoder = Encoding.UTF8.GetEncoder();
        encoder.Convert(
            message, reply.Slice(start + errorFields, MaximumMessageLength), flush: true,
            out _, out var messageLength, out _);
        var payloadLength = errorFields + messageLength;
        if (type == ReplyType.ErrorOffset)
        {
            BinaryPrimitives.WriteUInt64BigEndian(reply[(start + payloadLength)..], offset);
            payloadLength += offsetField;
        }

        WriteChunkHeader(reply, request, type, payloadLength, ReplyFlags.Done);
        BinaryPrimitives.WriteUInt32BigEndian(reply[start..], (uint)error);
        BinaryPrimitives.WriteUInt16BigEndian(reply[(start + 4)..], (ushort)messageLength);
        FinishReply(start + payloadLength);
    }

    /// <summary>Waits for a node's work on this thread. If it is not done yet, the lead is given up first.</summary>
    internal void Wait(ValueTask pending)
    {
        if (!pending.IsCompleted)
        {
            if (_leading)
            {
                _leading = false;
                _transmission.GiveUpLead();
                SendFinished();
            }

            _woken = false;
            var awaiter = pending.GetAwaiter();
            awaiter.UnsafeOnCompleted(_wake);
            lock (_waitGate)
            {
                while (!_woken)
                {
                    Monitor.Wait(_waitGate);
                }
            }

            awaiter.GetResult();
            return;
        }

        pending.GetAwaiter().GetResult();
    }

    private bool Lead()
    {
        while (true)
        {
            if (!_transmission.HasWholeRequest)
            {
                Flush();
            }

            if (!TryReceive(out var request))
            {
                Flush();
                _transmission.End();
                return false;
            }

            ServeNext(request);

            if (!_leading || _reserved > 0)
            {
                Flush();
                ReleaseReserved();
            }

            if (!_leading)
            {
                return true;
            }
        }
    }

    private void ServeNext(in RequestHeader request)
    {
        if (_transmission.ShouldShare(request))
        {
            _leading = false;
            _transmission.GiveUpLead();
            SendFinished();
        }

        if (_leading && request.Command is NbdCommand.Read or NbdCommand.Write)
        {
            ServeLeading(request);
        }
        else
        {
            Serve(request);
        }
    }

    private void ServeLeading(in RequestHeader request)
    {
        _transmission.Policy.Begin();
        Serve(request);
        if (_leading)
        {
            _transmission.Policy.End(request.Length);
        }
    }

    private bool TryReceive(out RequestHeader request)
    {
        request = default;
        var receiver = _transmission.Receiver;
        var size = _transmission.RequestSize;
        if (_transmission.IsStopping && receiver.Waiting.Length < size)
        {
            return false;
        }

        if (!receiver.TryFill(size))
        {
            return false;
        }

        if (!RequestHeader.TryRead(receiver.Take(size), ExtendedHeaders, out request))
        {
            throw NbdException.Protocol("a request has the wrong magic number");
        }

        Payload = default;
        if (request.Command == NbdCommand.Disconnect)
        {
            return false;
        }

        if (request.PayloadLength(ExtendedHeaders) is > 0 and var payloadLength)
        {
            ReceivePayload(request.Command, payloadLength);
        }
        else if (request.Command == NbdCommand.Read && request.Length <= NbdLimits.MaximumPayload)
        {
            Reserve((long)request.Length);
        }

        return true;
    }

    private void ReceivePayload(NbdCommand command, ulong payloadLength)
    {
        // A longer payload cannot be skipped in reasonable time; the document lets us take it for an attack.
        if (payloadLength > NbdLimits.MaximumPayload)
        {
            throw NbdException.Protocol(
                $"a payload of {payloadLength} bytes is over the limit of {NbdLimits.MaximumPayload}");
        }

        var length = (int)payloadLength;
        var isWanted = command == NbdCommand.Write
            ? Export.Options.Writable
            : command == NbdCommand.BlockStatus && length <= NbdLimits.MaximumFilterPayload;
        if (!isWanted)
        {
            _transmission.Receiver.Skip(length);
            return;
        }

        Reserve(length);
        if (_payload is null || _payload.Length < length)
        {
            GiveBack(ref _payload);
            _payload = _transmission.Buffers.Take(Math.Max(length, Transmission.SmallRequest));
        }

        var payload = _payload.Memory[..length];
        _transmission.Receiver.CopyTo(payload.Span);
        Payload = payload;
    }

    private void Serve(in RequestHeader request)
    {
        try
        {
            if (RequestCheck.Find(this, request) is { } refusal)
            {
                ReplyError(request, refusal.Error, refusal.Message);
                return;
            }

            switch (request.Command)
            {
                case NbdCommand.Read:
                    ReadCommand.Serve(this, request);
                    break;
                case NbdCommand.Write:
                    WriteCommand.Serve(this, request);
                    break;
                case NbdCommand.Flush:
                    FlushCommand.Serve(this, request);
                    break;
                case NbdCommand.Trim:
                    TrimCommand.Serve(this, request);
                    break;
                case NbdCommand.WriteZeroes:
                    WriteZeroesCommand.Serve(this, request);
                    break;
                case NbdCommand.BlockStatus:
                    BlockStatusCommand.Serve(this, request);
                    break;
                case NbdCommand.Resize:
                    ResizeCommand.Serve(this, request);
                    break;
                default:
                    CacheCommand.Serve(this, request);
                    break;
            }
        }
        catch (Exception exception)
        {
            ReplyFailure(request, exception);
        }
    }

    // A defect of a node must not end the guest's disk: the request fails, the connection lives on.
    private void ReplyFailure(in RequestHeader request, Exception failure)
    {
        if (failure is BlockException { Kind: var kind })
        {
            ReplyError(request, ErrorFor(request, kind), failure.Message);
        }
        else
        {
            ReplyError(request, NbdError.EIO, $"{failure.GetType().Name}: {failure.Message}");
        }
    }

    private static NbdError ErrorFor(in RequestHeader request, BlockErrorKind kind) =>
        kind == BlockErrorKind.NotSupported && (request.Flags & CommandFlags.FastZero) != 0
            ? NbdError.ENOTSUP
            : NbdErrors.FromKind(kind);

    /// <summary>Sends all finished replies, and lets a large buffer go.</summary>
    private void Flush()
    {
        SendFinished();
        _sent = _filled = 0;
        if (_output?.Length > GatherSize)
        {
            GiveBack(ref _output);
        }

        if (_payload?.Length > GatherSize)
        {
            Payload = default;
            GiveBack(ref _payload);
        }
    }

    // Never throws: a connection that broke is found out by its leader, and the node's work is done all the same.
    private void SendFinished()
    {
        if (_filled > _sent)
        {
            _transmission.Send(_output!.GetSpan()[_sent.._filled]);
            _sent = _filled;
        }
    }

    private void Wake()
    {
        lock (_waitGate)
        {
            _woken = true;
            Monitor.Pulse(_waitGate);
        }
    }

    private void Reserve(long length)
    {
        if (length > Transmission.SmallRequest)
        {
            _transmission.ReserveBytes(length);
            _reserved = length;
        }
    }

    private void ReleaseReserved()
    {
        if (_reserved > 0)
        {
            _transmission.ReleaseBytes(_reserved);
            _reserved = 0;
        }
    }

    private void ReturnBuffers()
    {
        Payload = default;
        GiveBack(ref _output);
        GiveBack(ref _payload);
    }

    private void GiveBack(ref ServerBuffer? buffer)
    {
        if (buffer is not null)
        {
            _transmission.Buffers.GiveBack(buffer);
            buffer = null;
        }
    }
}
