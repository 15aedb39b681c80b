namespace Tidemark.Nbd.Protocol;

/// <summary>The names of the metadata contexts that we know
/// ("Metadata querying"; QEMU's docs/interop/nbd.txt).</summary>
public static class MetaContextNames
{
    /// <summary>Holes and zeroes.</summary>
    public const string BaseAllocation = "base:allocation";

    /// <summary>Which image of a backing chain holds the bytes: 0 none, 1 the image itself, 2 its backing file, and so
    /// on.</summary>
    public const string AllocationDepth = "qemu:allocation-depth";

    /// <summary>What the names of QEMU's dirty bitmaps begin with; the bitmap's name follows.</summary>
    public const string DirtyBitmapPrefix = "qemu:dirty-bitmap:";

    /// <summary>The context of a dirty bitmap.</summary>
    public static string ForDirtyBitmap(string bitmapName) => DirtyBitmapPrefix + bitmapName;
}
