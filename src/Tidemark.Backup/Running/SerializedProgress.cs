namespace Tidemark.Backup.Running;

/// <summary>Passes calls on one at a time, whichever threads they come from.</summary>
internal sealed class SerializedProgress(IBackupProgress inner) : IBackupProgress
{
    private readonly Lock _gate = new();

    /// <inheritdoc/>
    public void Phase(string text)
    {
        lock (_gate)
        {
            inner.Phase(text);
        }
    }

    /// <inheritdoc/>
    public void Note(string text)
    {
        lock (_gate)
        {
            inner.Note(text);
        }
    }

    /// <inheritdoc/>
    public void Report(IReadOnlyList<DiskProgress> disks)
    {
        lock (_gate)
        {
            inner.Report(disks);
        }
    }
}
