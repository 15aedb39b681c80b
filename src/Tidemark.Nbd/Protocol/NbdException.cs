using Tidemark.Blocks.Nodes;

namespace Tidemark.Nbd.Protocol;

/// <summary>An NBD connection or request failed. The message says with whom, at what, and why.</summary>
public sealed class NbdException : BlockException
{
    /// <summary>Creates an error of the connection or of the protocol.</summary>
    /// <param name="kind">Why it failed.</param>
    /// <param name="message">What was wrong, and where.</param>
    /// <param name="innerException">The cause.</param>
    public NbdException(BlockErrorKind kind, string message, Exception? innerException = null)
        : base(kind, message, innerException)
    {
    }

    /// <summary>Creates the error that a server reported for one request; the connection lives on.</summary>
    /// <param name="error">The server's code.</param>
    /// <param name="message">What was asked, and the server's words.</param>
    /// <param name="errorOffset">Where in the export it failed, if the server said so.</param>
    public NbdException(NbdError error, string message, long? errorOffset = null)
        : base(NbdErrors.ToKind(error), message) => (Error, ErrorOffset) = (error, errorOffset);

    /// <summary>The code that the server reported; none when the connection itself failed.</summary>
    public NbdError Error { get; }

    /// <summary>Where in the export the request failed: what lies before was done. Null when the server did not
    /// say.</summary>
    public long? ErrorOffset { get; }

    /// <summary>The peer sent what the protocol does not allow.</summary>
    internal static NbdException Protocol(string message) =>
        new(BlockErrorKind.Io, "the NBD peer broke the protocol: " + message);
}
