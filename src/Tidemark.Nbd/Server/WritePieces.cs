using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server;

/// <summary>
/// Which long writes a leader serves piece by piece, as they come: while it writes one piece, the client fills the
/// socket with the next. So client and server overlap without a second thread, and a piece is still in the processor's
/// cache when it is written. For one processor; docs/performance.md, "NBD", says what two gain and lose by it.
/// </summary>
/// <remarks>
/// The leader's alone. A write whose connection is lost in its middle has then been done in part, which is one of the
/// states that a write without a reply may leave; the part is done before the loss is known, never later. Whether the
/// whole request is allowed is known before its first piece. Not for a node that has not answered at once (its pieces
/// would wait one for another), for one that waits for a device (LeadPolicy), for one whose units are longer than a
/// piece (a part of a new cluster is filled up from the backing file), for writes that must be durable each, and not
/// where there are more processors than one: there another thread receives the next request meanwhile.
/// </remarks>
/// <param name="isAllowed">Whether the server wants it and the node's units are no longer than a piece.</param>
internal struct WritePieces(bool isAllowed)
{
    /// <summary>The length of a piece, in bytes; pieces end at its multiples, so that a node's own units, which are no
    /// longer, stay whole. With twice as much the socket would hold no whole piece more; with half of it the file's
    /// own price for each write shows.</summary>
    internal const int Length = 128 * 1024;

    private const int MostProcessors = 1;

    private bool _nodeIsSlow;

    /// <summary>Whether this machine has so few processors that a server should want it.</summary>
    internal static bool SuitTheMachine { get; } = Environment.ProcessorCount <= MostProcessors;

    /// <summary>Whether a write may be served so.</summary>
    internal readonly bool Suit(in RequestHeader request, bool extendedHeaders) =>
        isAllowed && !_nodeIsSlow && request.Command == NbdCommand.Write
        && request.Length is > Length and <= NbdLimits.MaximumPayload
        && request.PayloadLength(extendedHeaders) == request.Length
        && (request.Flags & CommandFlags.ForceUnitAccess) == 0;

    /// <summary>How long the next piece is.</summary>
    internal static int NextLength(long offset, int rest) =>
        Math.Min(rest, Length - (int)(offset & (Length - 1)));

    /// <summary>The node did not answer at once: no further request is served so.</summary>
    internal void Forgo() => _nodeIsSlow = true;
}
