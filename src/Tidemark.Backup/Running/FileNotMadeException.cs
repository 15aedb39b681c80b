namespace Tidemark.Backup.Running;

/// <summary>A file that was to be made was not: nothing of it is to be taken back.</summary>
internal sealed class FileNotMadeException : Exception
{
    /// <summary>Creates an error.</summary>
    internal FileNotMadeException(string message, Exception innerException) : base(message, innerException)
    {
    }
}
