namespace Tidemark.Repository;

/// <summary>The one exception of the repository: a kind to switch on, and a message that says what, where, what to
/// do.</summary>
public sealed class RepositoryException : Exception
{
    /// <summary>Creates an error.</summary>
    /// <param name="kind">Why it failed.</param>
    /// <param name="message">What was wrong, where (path, offset, value), and what to do if that is known.</param>
    /// <param name="innerException">The cause, if another exception was.</param>
    public RepositoryException(RepositoryErrorKind kind, string message, Exception? innerException = null)
        : base(message, innerException) => Kind = kind;

    /// <summary>Why it failed.</summary>
    public RepositoryErrorKind Kind { get; }

    /// <summary>Translates a failure of file I/O; a full disk and a missing file keep their meaning.</summary>
    /// <param name="exception">What the runtime threw.</param>
    /// <param name="doing">What was being done, for example <c>read the file '/srv/repo/config'</c>.</param>
    internal static RepositoryException FromIo(Exception exception, string doing)
    {
        const int ENOSPC = 28, EDQUOT = 122, EFBIG = 27;
        return exception switch
        {
            FileNotFoundException or DirectoryNotFoundException =>
                new(RepositoryErrorKind.NotFound, $"could not {doing}: it does not exist", exception),
            IOException { HResult: ENOSPC or EDQUOT or EFBIG } => new(
                RepositoryErrorKind.NoSpace,
                $"could not {doing}: {exception.Message}; free space (restic prune) or raise the quota, and run again",
                exception),
            _ => new(RepositoryErrorKind.Io, $"could not {doing}: {exception.Message}", exception),
        };
    }
}
