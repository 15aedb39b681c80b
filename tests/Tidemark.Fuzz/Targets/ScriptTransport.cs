using Tidemark.Nbd.Protocol;

namespace Tidemark.Fuzz.Targets;

/// <summary>A connection to a peer that says what a script holds and swallows whatever it is told.</summary>
/// <param name="script">What it says.</param>
/// <param name="start">Where in the script it begins.</param>
internal sealed class ScriptTransport(byte[] script, int start = 0) : NbdTransport
{
    private int _at = start;
    private volatile bool _aborted;
    private volatile bool _sendingEnded;

    internal override string Peer => "the script";

    internal override bool HasWaitingBytes => Volatile.Read(ref _at) < script.Length && !_aborted;

    internal override int Receive(Span<byte> target)
    {
        if (_aborted)
        {
            throw new IOException("aborted");
        }

        var count = Math.Min(target.Length, script.Length - _at);
        script.AsSpan(_at, count).CopyTo(target);
        _at += count;
        return count;
    }

    internal override int ReceiveAll(Span<byte> target) => Receive(target);

    internal override void Send(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second)
    {
        if (_aborted || _sendingEnded)
        {
            throw new IOException("aborted");
        }
    }

    internal override bool TrySend(ReadOnlySpan<byte> bytes) => false;

    internal override void Abort() => _aborted = true;

    internal override void EndReceiving() => Volatile.Write(ref _at, script.Length);

    internal override void EndSending() => _sendingEnded = true;

    public override void Dispose() => _aborted = true;
}
