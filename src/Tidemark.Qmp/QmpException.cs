namespace Tidemark.Qmp;

/// <summary>A command was refused, the monitor broke, or a message did not follow the protocol.</summary>
public sealed class QmpException : Exception
{
    /// <summary>The class of an error that a monitor reports when nothing more is known.</summary>
    public const string GenericError = "GenericError";

    /// <summary>The class of the error for a command that the hypervisor does not have.</summary>
    public const string CommandNotFound = "CommandNotFound";

    /// <summary>Our own class: the monitor was closed before the reply came.</summary>
    public const string MonitorClosed = "MonitorClosed";

    /// <summary>Our own class: what arrived was no QMP.</summary>
    public const string ProtocolError = "ProtocolError";

    /// <summary>Creates an error.</summary>
    /// <param name="errorClass">The error's class, as QMP has it, or one of our own two.</param>
    /// <param name="description">The hypervisor's own words, or ours.</param>
    /// <param name="command">The command that failed, if it was one.</param>
    /// <param name="innerException">The cause.</param>
    public QmpException(
        string errorClass, string description, string? command = null, Exception? innerException = null)
        : base(command is null ? description : $"{command}: {description}", innerException)
    {
        ErrorClass = errorClass;
        Description = description;
        Command = command;
    }

    /// <summary>QMP's error class.</summary>
    public string ErrorClass { get; }

    /// <summary>The description alone.</summary>
    public string Description { get; }

    /// <summary>The command that failed, or null.</summary>
    public string? Command { get; }
}
