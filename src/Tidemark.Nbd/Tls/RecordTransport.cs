using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Tls;

/// <summary>
/// What is the same for every TLS under a connection: how messages become records, and what a failure is called. Owns
/// the transport below.
/// </summary>
/// <remarks>One thread receives and one sends at a time, as everywhere; both may go on together.</remarks>
internal abstract class RecordTransport(NbdTransport below, TransportStream stream) : NbdTransport
{
    /// <summary>A header and the beginning of its payload leave in one record; a record has at most 16 KiB.</summary>
    private const int FirstRecord = 16 * 1024;

    private readonly byte[] _first = new byte[FirstRecord];

    internal override string Peer => below.Peer;

    internal override bool IsLocal => below.IsLocal;

    // What a TLS library holds decrypted need not show: a hint that is sometimes missed costs speed and nothing else.
    internal override bool HasWaitingBytes => below.HasWaitingBytes;

    internal override int Receive(Span<byte> target)
    {
        try
        {
            return Read(target);
        }
        catch (Exception exception) when (IsOwnFailure(exception))
        {
            throw new IOException($"could not receive from {Peer} over TLS: {exception.Message}", exception);
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
        try
        {
            if (first.Length < FirstRecord && !second.IsEmpty)
            {
                first.CopyTo(_first);
                var count = Math.Min(second.Length, FirstRecord - first.Length);
                second[..count].CopyTo(_first.AsSpan(first.Length));
                Write(_first.AsSpan(0, first.Length + count));
                second = second[count..];
            }
            else
            {
                Write(first);
            }

            if (!second.IsEmpty)
            {
                Write(second);
            }
        }
        catch (Exception exception) when (IsOwnFailure(exception))
        {
            throw new IOException($"could not send to {Peer} over TLS: {exception.Message}", exception);
        }
    }

    internal override bool TrySend(ReadOnlySpan<byte> bytes) => false;

    internal override void EndSession()
    {
        stream.IsLeaving = true;
        SayFarewell();
    }

    internal override void Abort() => below.Abort();

    internal override void EndReceiving() => below.EndReceiving();

    // No farewell: another thread may be sending, and whoever ends so has no time for one.
    internal override void EndSending() => below.EndSending();

    public override void Dispose() => below.Dispose();

    /// <summary>Decrypted bytes; zero or less at the end.</summary>
    protected abstract int Read(Span<byte> target);

    protected abstract void Write(ReadOnlySpan<byte> bytes);

    /// <summary>Tells the peer that nothing more comes; says nothing of a connection that is gone already.</summary>
    protected abstract void SayFarewell();

    /// <summary>Whether an exception is the library's own, which nobody above knows.</summary>
    protected abstract bool IsOwnFailure(Exception exception);
}
