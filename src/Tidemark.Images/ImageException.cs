using Tidemark.Blocks.Nodes;

namespace Tidemark.Images;

/// <summary>What was asked for cannot be done with this image: a name that is none, an option that makes no sense, a
/// format that is not supported. Failures of the layers below pass through as they are.</summary>
public sealed class ImageException : BlockException
{
    /// <summary>Creates an error.</summary>
    /// <param name="kind">Why it failed.</param>
    /// <param name="message">What is wrong, with which image, and what to do.</param>
    /// <param name="innerException">The cause, if another exception was.</param>
    public ImageException(BlockErrorKind kind, string message, Exception? innerException = null)
        : base(kind, message, innerException)
    {
    }

    internal static ImageException Invalid(string message) => new(BlockErrorKind.Invalid, message);

    internal static ImageException NotSupported(string message) => new(BlockErrorKind.NotSupported, message);
}
