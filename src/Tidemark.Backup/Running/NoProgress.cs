namespace Tidemark.Backup.Running;

/// <summary>Nobody wants to know.</summary>
public sealed class NoProgress : IBackupProgress
{
    private NoProgress()
    {
    }

    /// <summary>The only one.</summary>
    public static NoProgress Instance { get; } = new();

    /// <inheritdoc/>
    public void Phase(string text)
    {
    }

    /// <inheritdoc/>
    public void Note(string text)
    {
    }

    /// <inheritdoc/>
    public void Report(IReadOnlyList<DiskProgress> disks)
    {
    }
}
