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

    /// <summary>libvirt's class of the error, where the error is one that libvirt has too; otherwise null.</summary>
    public ErrorClass? Class { get; init; }

    /// <summary>What also failed while the run was being undone; the error itself is the first one.</summary>
    public IReadOnlyList<string> UndoErrors { get; init; } = [];
}
