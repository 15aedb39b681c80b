namespace Tidemark.Engine.Backups;

/// <summary>What becomes of a backup's bitmap: QEMU's <c>BitmapSyncMode</c>.</summary>
internal enum BitmapMode
{
    /// <summary>It is kept as it is, with the writes since.</summary>
    Never,

    /// <summary>After a success it holds only the writes since the point in time.</summary>
    OnSuccess,

    /// <summary>Also after a failure, and then with what was not copied.</summary>
    Always,
}
