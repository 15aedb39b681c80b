using Tidemark.Backup.Definitions;

namespace Tidemark.Backup.Journal;

/// <summary>The state of one virtual machine at one source.</summary>
/// <param name="Path">The folder.</param>
public sealed record RunFolder(string Path)
{
    /// <summary>The journal of the run that is under way, or that died.</summary>
    public string JournalPath => System.IO.Path.Combine(Path, "journal");

    /// <summary>Takes the folder's lock for this process; the kernel frees it however the process ends.</summary>
    /// <returns>The lock, or null when another run holds it.</returns>
    /// <exception cref="BackupException">The folder cannot be made or used.</exception>
    public RunLock? TryLock()
    {
        var path = System.IO.Path.Combine(Path, "lock");
        try
        {
            Directory.CreateDirectory(
                Path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            return RunLock.TryTake(path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new BackupException(
                BackupErrorKind.State,
                $"could not use the state directory '{Path}': {exception.Message}. Choose another with --state-dir",
                exception);
        }
    }

    /// <summary>Reads the journal, or returns null when there is none.</summary>
    /// <exception cref="BackupException">It is damaged.</exception>
    public JournalRecord? ReadJournal() => ReadJournal(JournalPath);

    /// <summary>Reads any journal, or returns null when there is none.</summary>
    /// <exception cref="BackupException">It is damaged.</exception>
    internal static JournalRecord? ReadJournal(string path)
    {
        var file = new FileInfo(path);
        if (!file.Exists)
        {
            return null;
        }

        if (file.Length > JournalFormat.MaximumLength)
        {
            throw new BackupException(
                BackupErrorKind.State,
                $"the journal '{path}' has {file.Length} bytes, over the limit of "
                    + $"{JournalFormat.MaximumLength}");
        }

        return JournalFormat.Parse(File.ReadAllBytes(path), path);
    }
}
