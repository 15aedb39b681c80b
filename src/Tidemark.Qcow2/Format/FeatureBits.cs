namespace Tidemark.Qcow2.Format;

/// <summary>The feature bits of a version 3 header (docs/interop/qcow2, "Header").</summary>
internal static class FeatureBits
{
    internal const ulong Dirty = 1UL << 0;
    internal const ulong Corrupt = 1UL << 1;
    internal const ulong ExternalDataFile = 1UL << 2;
    internal const ulong CompressionType = 1UL << 3;
    internal const ulong ExtendedL2 = 1UL << 4;
    internal const ulong KnownIncompatible = Dirty | Corrupt | ExternalDataFile | CompressionType | ExtendedL2;

    internal const ulong LazyRefcounts = 1UL << 0;

    internal const ulong Bitmaps = 1UL << 0;
    internal const ulong DataFileRaw = 1UL << 1;
    internal const ulong KnownAutoclear = Bitmaps | DataFileRaw;

    /// <summary>What a new image says of itself: type (0 incompatible, 1 compatible, 2 autoclear), bit, name.</summary>
    internal static readonly (byte Type, byte Bit, string Name)[] Names =
    [
        (0, 0, "dirty bit"),
        (0, 1, "corrupt bit"),
        (0, 2, "external data file"),
        (0, 3, "compression type"),
        (0, 4, "extended L2 entries"),
        (1, 0, "lazy refcounts"),
        (2, 0, "bitmaps"),
        (2, 1, "raw external data"),
    ];
}
