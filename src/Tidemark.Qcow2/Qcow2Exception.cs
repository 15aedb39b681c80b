using Tidemark.Blocks.Nodes;

namespace Tidemark.Qcow2;

/// <summary>An image contradicts the format (<see cref="BlockErrorKind.Corrupt"/>), or uses a part of it that is not
/// supported (<see cref="BlockErrorKind.NotSupported"/>). Failures of the storage below pass through as they
/// are.</summary>
public sealed class Qcow2Exception : BlockException
{
    /// <summary>Creates an error.</summary>
    /// <param name="kind">Why it failed.</param>
    /// <param name="message">What is wrong, at which offset, with which value.</param>
    /// <param name="innerException">The cause, if another exception was.</param>
    public Qcow2Exception(BlockErrorKind kind, string message, Exception? innerException = null)
        : base(kind, message, innerException)
    {
    }

    internal static Qcow2Exception Corrupt(string message) => new(BlockErrorKind.Corrupt, message);

    internal static Qcow2Exception NotSupported(string message) => new(BlockErrorKind.NotSupported, message);
}
