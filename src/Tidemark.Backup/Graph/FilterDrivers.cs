namespace Tidemark.Backup.Graph;

/// <summary>The drivers that are filters: their bytes are their child's bytes. Which, by version:
/// <see cref="GraphVersions"/>.</summary>
public static class FilterDrivers
{
    /// <summary>Whether a node with the driver is a filter.</summary>
    public static bool IsFilter(string driver) =>
        GraphVersions.FiltersOverFile.Contains(driver, StringComparer.Ordinal)
            || IsOverBacking(driver);

    /// <summary>Whether the filter's child is its <c>backing</c> child rather than its <c>file</c> child.</summary>
    public static bool IsOverBacking(string driver) =>
        GraphVersions.FiltersOverBacking.Contains(driver, StringComparer.Ordinal);
}
