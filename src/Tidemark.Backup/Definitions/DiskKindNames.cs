namespace Tidemark.Backup.Definitions;

/// <summary>The words of <see cref="DiskKind"/> and <see cref="BackupMode"/> in reports and in
/// <c>tidemark.json</c>.</summary>
public static class DiskKindNames
{
    /// <summary><c>full</c>, <c>incremental</c> or <c>re-read</c>.</summary>
    public static string ToText(this DiskKind kind) => kind switch
    {
        DiskKind.Full => "full",
        DiskKind.Incremental => "incremental",
        DiskKind.ReRead => "re-read",
        _ => throw new ArgumentOutOfRangeException(nameof(kind)),
    };

    /// <summary><c>pull</c> or <c>push</c>.</summary>
    public static string ToText(this BackupMode mode) => mode == BackupMode.Pull ? "pull" : "push";

    /// <summary><c>full</c> or <c>incremental</c>.</summary>
    public static string ToText(this DiskBackupMode mode) =>
        mode == DiskBackupMode.Full ? "full" : "incremental";

    /// <summary><c>running</c>, <c>complete</c>, <c>failed</c>, <c>cancelling</c> or <c>cancelled</c>.</summary>
    public static string ToText(this BackupDiskState state) => state switch
    {
        BackupDiskState.Running => "running",
        BackupDiskState.Complete => "complete",
        BackupDiskState.Failed => "failed",
        BackupDiskState.Cancelling => "cancelling",
        BackupDiskState.Cancelled => "cancelled",
        _ => throw new ArgumentOutOfRangeException(nameof(state)),
    };

    /// <summary>The kind of that word, or null for a word that is none.</summary>
    public static DiskKind? ParseKind(string text) => text switch
    {
        "full" => DiskKind.Full,
        "incremental" => DiskKind.Incremental,
        "re-read" => DiskKind.ReRead,
        _ => null,
    };

    /// <summary>The mode of that word, or null for a word that is none.</summary>
    public static BackupMode? ParseMode(string text) => text switch
    {
        "pull" => BackupMode.Pull,
        "push" => BackupMode.Push,
        _ => null,
    };
}
