namespace Tidemark.Backup.Definitions;

/// <summary>A backup or a restore failed. The message says what, where, and what to do.</summary>
public sealed class BackupException : Exception
{
    /// <summary>Creates an error.</summary>
    /// <param name="kind">The class of the error.</param>
    /// <param name="message">What, where, what to do.</param>
    /// <param name="innerException">The cause.</param>
    public BackupException(BackupErrorKind kind, string message, Exception? innerException = null)
        : base(message, innerException) => Kind = kind;

    /// <summary>The class of the error.</summary>
    public BackupErrorKind Kind { get; }

    /// <summary>What also failed while the run was being undone; the error itself is the first one.</summary>
    public IReadOnlyList<string> UndoErrors { get; init; } = [];
}
