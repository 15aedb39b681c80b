using Tidemark.Backup.Definitions;

namespace Tidemark.Backup.Journal;

/// <summary>Small files of the state directory that are there whole or not at all, whatever happens.</summary>
internal static class DurableFile
{
    /// <summary>The longest file that is read: 4 MiB.</summary>
    internal const int MaximumLength = 4 << 20;

    /// <summary>What a file is called until it is whole.</summary>
    internal const string PartialSuffix = ".new";

    /// <summary>Writes a file under its name, or replaces it. Durable when it returns.</summary>
    /// <exception cref="BackupException">It cannot be written; what was there before is there still.</exception>
    internal static void Write(string path, ReadOnlySpan<byte> content)
    {
        Prepare(path, content);
        Commit(path);
    }

    /// <summary>Writes a file beside its name, durable, so that only <see cref="Commit"/> is left to do.</summary>
    /// <exception cref="BackupException">It cannot be written.</exception>
    internal static void Prepare(string path, ReadOnlySpan<byte> content)
    {
        try
        {
            var folder = Path.GetDirectoryName(path)!;
            Directory.CreateDirectory(
                folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            using (var file = new FileStream(path + PartialSuffix, new FileStreamOptions
            {
                Mode = FileMode.Create,
                Access = FileAccess.Write,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            }))
            {
                file.Write(content);
                file.Flush(flushToDisk: true);
            }

            StateDirectory.FlushDirectory(folder);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw Unwritable(path, exception);
        }
    }

    /// <summary>Gives a prepared file its name.</summary>
    /// <exception cref="BackupException">It cannot.</exception>
    internal static void Commit(string path)
    {
        try
        {
            File.Move(path + PartialSuffix, path, overwrite: true);
            StateDirectory.FlushDirectory(Path.GetDirectoryName(path)!);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw Unwritable(path, exception);
        }
    }

    /// <summary>Reads a file; null when there is none.</summary>
    /// <exception cref="BackupException">It is too long, or cannot be read.</exception>
    internal static byte[]? Read(string path)
    {
        try
        {
            var file = new FileInfo(path);
            if (!file.Exists)
            {
                return null;
            }

            return file.Length <= MaximumLength
                ? File.ReadAllBytes(path)
                : throw new BackupException(
                    BackupErrorKind.State,
                    $"'{path}' has {file.Length} bytes, over the limit of {MaximumLength}: it is none of ours");
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new BackupException(
                BackupErrorKind.State, $"could not read '{path}': {exception.Message}", exception);
        }
    }

    private static BackupException Unwritable(string path, Exception exception) => new(
        BackupErrorKind.State,
        $"could not write '{path}': {exception.Message}. Choose another directory with --state-dir",
        exception);
}
