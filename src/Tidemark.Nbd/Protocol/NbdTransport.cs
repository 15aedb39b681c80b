namespace Tidemark.Nbd.Protocol;

/// <summary>
/// A two-way stream of bytes with blocking calls: what a connection runs on. Measured on this runtime, blocking
/// sockets on threads of their own reach the speed of C where asynchronous ones reach half of it.
/// </summary>
/// <remarks>One thread receives at a time, one sends at a time; both may go on together. <see cref="Abort"/> may be
/// called from anywhere at any time: it makes blocked calls return.</remarks>
internal abstract class NbdTransport : IDisposable
{
    /// <summary>Who is at the other end, for messages.</summary>
    internal abstract string Peer { get; }

    /// <summary>Whether the other end is on this machine, so that a reset is its end and nobody else's word.</summary>
    internal virtual bool IsLocal => false;

    /// <summary>Receives at least one byte; 0 when the peer has ended its direction.</summary>
    /// <exception cref="IOException">The connection broke.</exception>
    internal abstract int Receive(Span<byte> target);

    /// <summary>Receives until the target is full; a smaller count only when the peer has ended.</summary>
    /// <exception cref="IOException">The connection broke.</exception>
    internal abstract int ReceiveAll(Span<byte> target);

    /// <summary>Receives at least one byte, into the first part before the second, as much as is there.</summary>
    /// <param name="first">Not empty.</param>
    /// <param name="second">Where a transport puts what is there beyond the first part, if it can at no price.</param>
    /// <returns>The bytes in both parts; 0 when the peer has ended its direction.</returns>
    /// <exception cref="IOException">The connection broke.</exception>
    internal virtual int Receive(Span<byte> first, Span<byte> second) => Receive(first);

    /// <summary>Sends both parts, in order, in one system call where
    /// possible. Returns when all is handed over.</summary>
    /// <exception cref="IOException">The connection broke; some bytes may have left.</exception>
    internal abstract void Send(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second);

    /// <summary>Sends without waiting; what does not fit is dropped.</summary>
    /// <returns>Whether all of it left.</returns>
    internal abstract bool TrySend(ReadOnlySpan<byte> bytes);

    /// <summary>Says farewell at the level of the transport, where it has one (TLS does), without ever waiting. Nothing
    /// is sent after it.</summary>
    internal virtual void EndSession()
    {
    }

    /// <summary>Whether bytes wait to be received.</summary>
    internal abstract bool HasWaitingBytes { get; }

    /// <summary>
    /// Ends all use of the connection on this side: blocked calls return (a send within about a second), later ones
    /// fail. The peer does not see it before <see cref="Dispose"/>: what it sees as the end must come after the last
    /// request has finished. Safe from any thread, any number of times.
    /// </summary>
    internal abstract void Abort();

    /// <summary>Makes a blocked receive return as if the peer had ended. Sending goes on.</summary>
    internal abstract void EndReceiving();

    /// <summary>Tells the peer that nothing more will be sent. Receiving goes on.</summary>
    internal abstract void EndSending();

    /// <summary>Frees the connection. Only when no call is under way.</summary>
    public abstract void Dispose();
}
