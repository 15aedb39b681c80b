namespace Tidemark.Backup.Running;

/// <summary>Who wants to know how a backup or a restore goes. Calls come one at a time, and must return soon.</summary>
public interface IBackupProgress
{
    /// <summary>What is being done now: <c>freezing all disks at one instant</c>.</summary>
    void Phase(string text);

    /// <summary>What the user should know although nothing failed.</summary>
    void Note(string text);

    /// <summary>How far the disks are; a few times a second while bytes move, and once at the end.</summary>
    void Report(IReadOnlyList<DiskProgress> disks);
}
