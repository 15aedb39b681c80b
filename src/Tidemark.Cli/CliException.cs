namespace Tidemark.Cli;

/// <summary>A failure that the program itself found: the message says what, where and what to do.</summary>
internal sealed class CliException(string message, Exception? innerException = null)
    : Exception(message, innerException);
