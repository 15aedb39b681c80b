using Tidemark.Nbd.Protocol;

namespace Tidemark.Fuzz.Targets;

/// <summary>A connection that remembers all that it received.</summary>
internal sealed class RecordingTransport(NbdTransport inner) : NbdTransport
{
    private readonly MemoryStream _received = new();

    internal byte[] Received => _received.ToArray();

    internal override string Peer => inner.Peer;

    internal override bool HasWaitingBytes => inner.HasWaitingBytes;

    internal override int Receive(Span<byte> target)
    {
        var count = inner.Receive(target);
        _received.Write(target[..count]);
        return count;
    }

    internal override int ReceiveAll(Span<byte> target)
    {
        var count = inner.ReceiveAll(target);
        _received.Write(target[..count]);
        return count;
    }

    internal override void Send(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second) => inner.Send(first, second);

    internal override bool TrySend(ReadOnlySpan<byte> bytes) => inner.TrySend(bytes);

    internal override void Abort() => inner.Abort();

    internal override void EndReceiving() => inner.EndReceiving();

    internal override void EndSending() => inner.EndSending();

    public override void Dispose()
    {
        inner.Dispose();
        _received.Dispose();
    }
}
