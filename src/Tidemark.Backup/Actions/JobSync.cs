namespace Tidemark.Backup.Actions;

/// <summary>What a backup job copies by itself.</summary>
public enum JobSync
{
    /// <summary>Everything.</summary>
    Full,

    /// <summary>What a bitmap says; the bitmap is left as it is (<c>bitmap-mode=never</c>).</summary>
    Bitmap,

    /// <summary>Nothing but what the guest is about to overwrite.</summary>
    None,
}
