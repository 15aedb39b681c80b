using Tidemark.Engine.Nodes;
using Tidemark.Qmp;

namespace Tidemark.Engine.Backups;

/// <summary>The arguments of <c>blockdev-backup</c> (qapi/block-core.json), read and checked against each
/// other.</summary>
internal sealed record BackupOptions
{
    internal required string JobId { get; init; }

    internal required string Device { get; init; }

    internal required string Target { get; init; }

    internal required BackupSync Sync { get; init; }

    internal string? BitmapName { get; init; }

    internal BitmapMode? BitmapMode { get; init; }

    internal string? FilterNodeName { get; init; }

    internal bool AutoFinalize { get; init; }

    internal bool AutoDismiss { get; init; }

    /// <summary>Whether a guest's write fails when old data cannot be saved; otherwise the backup does.</summary>
    internal bool BreakGuestWrite { get; init; }

    internal TimeSpan? CopyTimeout { get; init; }

    /// <summary>Reads the arguments.</summary>
    /// <exception cref="QmpException">One is missing, unknown, not supported, or contradicts another.</exception>
    internal static BackupOptions Read(QmpArguments arguments)
    {
        var device = arguments.GetString("device");
        var target = arguments.GetString("target");
        var syncText = arguments.GetChoice("sync", "top", "full", "none", "incremental", "bitmap");
        if (syncText == "top")
        {
            throw Refuse("Parameter 'sync' does not support value 'top'");
        }

        RefuseOtherPolicies(arguments, "on-source-error");
        RefuseOtherPolicies(arguments, "on-target-error");
        if (arguments.FindBoolean("compress") == true)
        {
            throw arguments.NotSupported("compress");
        }

        arguments.RefuseUnsupported("x-perf");
        switch (arguments.FindInteger("speed"))
        {
            case < 0:
                throw Refuse("Parameter 'speed' expects a non-negative value");
            case > 0:
                throw arguments.NotSupported("speed");
        }

        var bitmap = arguments.FindString("bitmap");
        var mode = ReadMode(arguments);
        return new BackupOptions
        {
            JobId = arguments.FindString("job-id") ?? device,
            Device = device,
            Target = target,
            Sync = syncText switch
            {
                "full" => BackupSync.Full,
                "none" => BackupSync.None,
                _ => BackupSync.Bitmap,
            },
            BitmapName = bitmap,
            BitmapMode = CheckBitmap(syncText, bitmap, mode),
            FilterNodeName = arguments.FindString("filter-node-name"),
            AutoFinalize = arguments.FindBoolean("auto-finalize") ?? true,
            AutoDismiss = arguments.FindBoolean("auto-dismiss") ?? true,
            BreakGuestWrite = NodeOptionsReader.ReadOnCbwError(arguments) ?? false,
            CopyTimeout = NodeOptionsReader.ReadTimeout(arguments),
        };
    }

    private static BitmapMode? ReadMode(QmpArguments arguments) =>
        arguments.FindChoice("bitmap-mode", "on-success", "never", "always") switch
        {
            null => null,
            "on-success" => Backups.BitmapMode.OnSuccess,
            "never" => Backups.BitmapMode.Never,
            _ => Backups.BitmapMode.Always,
        };

    private static void RefuseOtherPolicies(QmpArguments arguments, string name)
    {
        if (arguments.FindChoice(name, "report", "ignore", "enospc", "stop", "auto") is not (null or "report"))
        {
            throw Refuse($"Parameter '{arguments.FullName(name)}' supports only the value 'report'");
        }
    }

    // QEMU's rules and words (blockdev.c, do_backup_common, and block/backup.c, backup_job_create).
    private static BitmapMode? CheckBitmap(string sync, string? bitmap, BitmapMode? mode)
    {
        if (sync is "bitmap" or "incremental" && bitmap is null)
        {
            throw Refuse($"must provide a valid bitmap name for '{sync}' sync mode");
        }

        if (sync == "incremental")
        {
            return mode is null or Backups.BitmapMode.OnSuccess
                ? Backups.BitmapMode.OnSuccess
                : throw Refuse("Bitmap sync mode must be 'on-success' when using sync mode 'incremental'");
        }

        if (bitmap is null)
        {
            return mode is null ? null : throw Refuse("Cannot specify bitmap sync mode without a bitmap");
        }

        return (sync, mode) switch
        {
            (_, null) => throw Refuse("Bitmap sync mode must be given when providing a bitmap"),
            ("none", _) => throw Refuse("sync mode 'none' does not produce meaningful bitmap outputs"),
            ("full", Backups.BitmapMode.Never) => throw Refuse(
                "Bitmap sync mode 'never' has no meaningful effect when combined with sync mode 'full'"),
            _ => mode,
        };
    }

    private static QmpException Refuse(string description) => new(QmpException.GenericError, description);
}
