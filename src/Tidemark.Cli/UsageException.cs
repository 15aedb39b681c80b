namespace Tidemark.Cli;

/// <summary>The command line asks for what makes no sense; the message says what to write instead.</summary>
internal sealed class UsageException(string message) : Exception(message);
