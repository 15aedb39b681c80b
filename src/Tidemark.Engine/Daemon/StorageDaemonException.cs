namespace Tidemark.Engine.Daemon;

/// <summary>The storage daemon's command line is wrong, or what it asks for could not be done.</summary>
public sealed class StorageDaemonException : Exception
{
    /// <summary>Creates an error.</summary>
    /// <param name="message">What was wrong, with the option.</param>
    /// <param name="innerException">The cause.</param>
    public StorageDaemonException(string message, Exception? innerException = null)
        : base(message, innerException)
    {
    }
}
