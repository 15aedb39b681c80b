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
