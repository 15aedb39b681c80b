namespace Tidemark.Backup.Definitions;

/// <summary>The words of <see cref="ErrorClass"/> before a message.</summary>
public static class ErrorClassNames
{
    /// <summary>What libvirt's own message of that class begins with.</summary>
    public static string ToText(this ErrorClass errorClass) => errorClass switch
    {
        ErrorClass.Schema => "XML document failed to validate against schema",
        ErrorClass.Unsupported => "unsupported configuration",
        ErrorClass.OperationUnsupported => "Operation not supported",
        ErrorClass.OperationInvalid => "Requested operation is not valid",
        ErrorClass.OperationFailed => "operation failed",
        ErrorClass.InvalidArgument => "invalid argument",
        ErrorClass.CheckpointNotFound => "Domain checkpoint not found",
        ErrorClass.CheckpointInconsistent => "checkpoint inconsistent",
        _ => throw new ArgumentOutOfRangeException(nameof(errorClass)),
    };

    /// <summary>An error of that class: its words, then the message.</summary>
    public static BackupException ToException(this ErrorClass errorClass, string message) =>
        new(BackupErrorKind.Definition, $"{errorClass.ToText()}: {message}") { Class = errorClass };
}
