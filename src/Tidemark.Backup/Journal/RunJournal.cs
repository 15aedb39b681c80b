using Tidemark.Backup.Definitions;
using Tidemark.Backup.Planning;

namespace Tidemark.Backup.Journal;

/// <summary>The journal of a run under way. Each line is durable when its method returns.</summary>
/// <remarks>Used by one task at a time. Writing is a few hundred bytes a step, so it is done on the caller's
/// thread.</remarks>
public sealed class RunJournal : IDisposable
{
    private readonly string _path;
    private readonly FileStream _file;

    private RunJournal(string path, FileStream file)
    {
        _path = path;
        _file = file;
    }

    /// <summary>Begins a journal.</summary>
    /// <exception cref="BackupException">It cannot be written. Nothing was done yet.</exception>
    public static RunJournal Create(string path, string runId, string vmName, string source)
    {
        try
        {
            var file = new FileStream(path, new FileStreamOptions
            {
                Mode = FileMode.CreateNew,
                Access = FileAccess.Write,
                Share = FileShare.Read,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            });
            var journal = new RunJournal(path, file);
            journal.Append(JournalFormat.Header(runId, vmName, source));
            StateDirectory.FlushDirectory(Path.GetDirectoryName(path)!);
            return journal;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new BackupException(
                BackupErrorKind.State, $"could not write the journal '{path}': {exception.Message}", exception);
        }
    }

    /// <summary>Notes what takes the next effect back.</summary>
    public void WillDo(IReadOnlyList<UndoAction> undo)
    {
        if (undo.Count > 0)
        {
            Append(JournalFormat.Undo(undo));
        }
    }

    /// <summary>Notes what takes the transaction back that is the instant.</summary>
    /// <param name="undo">What takes it back.</param>
    /// <param name="at">The time.</param>
    public void WillFreeze(IReadOnlyList<UndoAction> undo, DateTimeOffset at) =>
        Append(JournalFormat.Freezing(undo, at));

    /// <summary>Notes which file was made under a name that an undo action has.</summary>
    public void Made(string path, FileIdentity identity) => Append(JournalFormat.Made(path, identity));

    /// <summary>Notes that the hypervisor's NBD server is ours.</summary>
    public void ServerStarted() => Append(JournalFormat.Done(JournalFormat.NbdServerDone));

    /// <summary>Notes that the restore point is durable: from here on its checkpoint stays.</summary>
    /// <param name="snapshotId">The restore point.</param>
    /// <param name="superseded">What removes the checkpoint that nobody needs any more.</param>
    public void Committed(string snapshotId, IReadOnlyList<UndoAction> superseded) =>
        Append(JournalFormat.Committed(snapshotId, superseded));

    /// <summary>Opens the journal of a run that another command began; its lock must be held.</summary>
    /// <exception cref="BackupException">It cannot be opened.</exception>
    public static RunJournal Continue(string path)
    {
        try
        {
            var file = new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.Read);
            try
            {
                CutTornLine(file);
                return new RunJournal(path, file);
            }
            catch
            {
                file.Dispose();
                throw;
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new BackupException(
                BackupErrorKind.State, $"could not open the journal '{path}': {exception.Message}", exception);
        }
    }

    /// <summary>Notes what later commands must know of a domain's backup.</summary>
    public void Job(JournalJob job) => Append(JournalFormat.Job(job));

    /// <summary>Notes that a domain's backup runs.</summary>
    public void Begun(DateTimeOffset at) => Append(JournalFormat.Begun(at));

    /// <summary>Notes that the begin of a domain's backup has failed: nobody is to take it for one that goes
    /// on.</summary>
    public void Failed() => Append(JournalFormat.Failed());

    /// <summary>Notes how a domain's backup ended.</summary>
    public void Ended(JobEnd end) => Append(JournalFormat.Ended(end));

    /// <summary>Ends the journal: nothing of the run is left.</summary>
    public void Delete()
    {
        _file.Dispose();
        File.Delete(_path);
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    // A line that a crash cut short was never acted upon. What is appended must not become its end.
    private static void CutTornLine(FileStream file)
    {
        if (file.Length > JournalFormat.MaximumLength)
        {
            throw new IOException($"it has {file.Length} bytes, over the limit of {JournalFormat.MaximumLength}");
        }

        var bytes = new byte[file.Length];
        file.ReadExactly(bytes);
        var whole = bytes.AsSpan().LastIndexOf((byte)'\n') + 1;
        file.SetLength(whole);
        file.Position = whole;
    }

    private void Append(byte[] line)
    {
        try
        {
            _file.Write(line);
            _file.Flush(flushToDisk: true);
        }
        catch (IOException exception)
        {
            throw new BackupException(
                BackupErrorKind.State, $"could not write the journal '{_path}': {exception.Message}", exception);
        }
    }
}
