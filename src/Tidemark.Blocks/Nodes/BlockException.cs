namespace Tidemark.Blocks.Nodes;

/// <summary>
/// The one exception of the block layer: a kind to switch on and a message that says what, where and why.
/// </summary>
public class BlockException : Exception
{
    /// <summary>Creates an error.</summary>
    /// <param name="kind">Why it failed.</param>
    /// <param name="message">What was wrong, where (node, path, offset, value), and what to do if that is
    /// known.</param>
    /// <param name="innerException">The cause, if another exception was.</param>
    public BlockException(BlockErrorKind kind, string message, Exception? innerException = null)
        : base(message, innerException) => Kind = kind;

    /// <summary>Why it failed.</summary>
    public BlockErrorKind Kind { get; }

    /// <summary>Translates a failure of file I/O; ENOSPC and permission errors keep their meaning.</summary>
    /// <param name="exception">What the runtime threw.</param>
    /// <param name="doing">What was being done, for example <c>write 4096 bytes at 65536 of /srv/a.qcow2</c>.</param>
    public static BlockException FromIo(Exception exception, string doing)
    {
        const int ENOSPC = 28, EDQUOT = 122, EROFS = 30, EFBIG = 27;
        var kind = exception switch
        {
            UnauthorizedAccessException => BlockErrorKind.ReadOnly,
            FileNotFoundException or DirectoryNotFoundException => BlockErrorKind.NotFound,
            IOException { HResult: ENOSPC or EDQUOT or EFBIG } => BlockErrorKind.NoSpace,
            IOException { HResult: EROFS } => BlockErrorKind.ReadOnly,
            _ => BlockErrorKind.Io,
        };
        return new BlockException(kind, $"could not {doing}: {exception.Message}", exception);
    }
}
