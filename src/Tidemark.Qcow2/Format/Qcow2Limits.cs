namespace Tidemark.Qcow2.Format;

/// <summary>The named limits that every length of an image is checked against before it is used. They are QEMU's
/// (docs/interop/qcow2, block/qcow2.h, block/qcow2-bitmap.c), so that what QEMU opens opens here.</summary>
public static class Qcow2Limits
{
    /// <summary>The smallest cluster: 512 bytes.</summary>
    public const int MinimumClusterBits = 9;

    /// <summary>The largest cluster: 2 MiB.</summary>
    public const int MaximumClusterBits = 21;

    /// <summary>The smallest cluster that can have 32 subclusters: 16 KiB.</summary>
    public const int MinimumExtendedClusterBits = 14;

    /// <summary>The cluster size of a new image: 64 KiB.</summary>
    public const int DefaultClusterSize = 64 * 1024;

    /// <summary>The largest L1 table in bytes: 32 MiB.</summary>
    public const int MaximumL1Bytes = 32 << 20;

    /// <summary>The largest refcount table in bytes: 8 MiB.</summary>
    public const int MaximumRefcountTableBytes = 8 << 20;

    /// <summary>How far past the end of the file a repair goes to keep new refcounts from places that something wrongly
    /// refers to: 64 MiB, a hole in the file.</summary>
    public const int MaximumRepairGap = 64 << 20;

    /// <summary>How many bytes of refcount blocks are counted to learn whether clusters were set aside in advance: 1
    /// GiB, which is 32 TiB of clusters of 64 KiB. Of a larger image it is not learned.</summary>
    public const long MaximumCountedBytes = 1L << 30;

    /// <summary>The widest refcount: 64 bits.</summary>
    public const int MaximumRefcountOrder = 6;

    /// <summary>The most internal snapshots.</summary>
    public const int MaximumSnapshots = 65536;

    /// <summary>The largest snapshot table in bytes: 64 MiB.</summary>
    public const int MaximumSnapshotTableBytes = 64 << 20;

    /// <summary>The longest backing file name in bytes.</summary>
    public const int MaximumBackingFileLength = 1023;

    /// <summary>The longest backing format name in bytes.</summary>
    public const int MaximumBackingFormatLength = 15;

    /// <summary>The most persistent bitmaps.</summary>
    public const int MaximumBitmaps = 65535;

    /// <summary>The largest bitmap directory in bytes: 48 MiB, which is read as a whole. QEMU's limit is 64 MiB; what
    /// is between takes 45,000 bitmaps with the longest of names.</summary>
    public const int MaximumBitmapDirectoryBytes = 48 << 20;

    /// <summary>The largest entry of a bitmap directory: 24 bytes, 4 KiB of extra data that nobody defines yet, the
    /// longest name, and padding.</summary>
    public const int MaximumBitmapEntryBytes = 24 + 4096 + MaximumBitmapNameLength + 7;

    /// <summary>The most entries of one bitmap table.</summary>
    public const int MaximumBitmapTableEntries = 0x8000000;

    /// <summary>The largest bitmap in bytes, in memory and in the image: 512 MiB.</summary>
    public const long MaximumBitmapBytes = 0x20000000;

    /// <summary>All bitmaps of one image together, in memory: 1 GiB.</summary>
    public const long MaximumTotalBitmapBytes = 1L << 30;

    /// <summary>The longest bitmap name in UTF-8 bytes.</summary>
    public const int MaximumBitmapNameLength = 1023;

    /// <summary>The finest bitmap granularity: 2^9 bytes.</summary>
    public const int MinimumGranularityBits = 9;

    /// <summary>The coarsest bitmap granularity: 2^31 bytes.</summary>
    public const int MaximumGranularityBits = 31;

    /// <summary>The largest disk: 64 TiB, what is tested. QEMU's own limit is the L1 table's.</summary>
    public const long MaximumCreateLength = 64L << 40;

    /// <summary>Host offsets end here: 56 bits.</summary>
    public const long MaximumHostOffset = 1L << 56;

    /// <summary>The most images of one backing chain that are opened by name. Each of them is an open file, and a
    /// request goes down the chain image by image.</summary>
    public const int MaximumChainDepth = 1000;
}
