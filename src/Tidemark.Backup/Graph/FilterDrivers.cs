namespace Tidemark.Backup.Graph;

/// <summary>
/// The drivers that are filters: their bytes are their child's bytes. Version differences stand here: the backup job's
/// filter was called <c>backup-top</c> up to QEMU 6.1 and is <c>copy-before-write</c> from 6.2 on.
/// </summary>
/// <remarks><c>snapshot-access</c> is not a filter (measured, 7.2 to 11.1): it shows its child's past.</remarks>
public static class FilterDrivers
{
    private static readonly string[] s_overFile =
        ["copy-before-write", "backup-top", "throttle", "copy-on-read", "compress", "preallocate", "blkdebug",
         "blklogwrites", "blkreplay"];

    private static readonly string[] s_overBacking = ["mirror_top", "commit_top"];

    /// <summary>Whether a node with the driver is a filter.</summary>
    public static bool IsFilter(string driver) =>
        s_overFile.Contains(driver, StringComparer.Ordinal) || IsOverBacking(driver);

    /// <summary>Whether the filter's child is its <c>backing</c> child rather than its <c>file</c> child.</summary>
    public static bool IsOverBacking(string driver) => s_overBacking.Contains(driver, StringComparer.Ordinal);
}
