namespace Tidemark.Engine.Backups;

/// <summary>What a backup copies: QEMU's <c>MirrorSyncMode</c>.</summary>
internal enum BackupSync
{
    /// <summary>The whole disk.</summary>
    Full,

    /// <summary>What a bitmap says.</summary>
    Bitmap,

    /// <summary>Nothing but old data, before it is overwritten.</summary>
    None,
}
