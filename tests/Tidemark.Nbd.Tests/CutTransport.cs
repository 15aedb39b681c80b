using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Tests;

/// <summary>A connection that ends for one side after so many bytes of a direction, and counts them.</summary>
internal sealed class CutTransport(NbdTransport inner, long sendLimit, long receiveLimit) : NbdTransport
{
    private long _sent;
    private long _received;

    internal long Sent => Interlocked.Read(ref _sent);

    internal long Received => Interlocked.Read(ref _received);

    internal override string Peer => inner.Peer;

    internal override bool IsLocal => inner.IsLocal;

    internal override bool HasWaitingBytes => Received < receiveLimit && inner.HasWaitingBytes;

    internal override int Receive(Span<byte> target)
    {
        var left = receiveLimit - _received;
        if (left == 0)
        {
            return 0;
        }

        var count = inner.Receive(target[..(int)Math.Min(target.Length, left)]);
        Interlocked.Add(ref _received, count);
        return count;
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
        foreach (var part in (ReadOnlySpan<byte[]>)[first.ToArray(), second.ToArray()])
        {
            var count = (int)Math.Min(part.Length, sendLimit - _sent);
            inner.Send(part.AsSpan(0, count), default);
            Interlocked.Add(ref _sent, count);
            if (count < part.Length)
            {
                inner.EndSending();
                throw new IOException("cut");
            }
        }
    }

    internal override bool TrySend(ReadOnlySpan<byte> bytes) => inner.TrySend(bytes);

    internal override void Abort() => inner.Abort();

    internal override void EndReceiving() => inner.EndReceiving();

    internal override void EndSending() => inner.EndSending();

    public override void Dispose() => inner.Dispose();
}
