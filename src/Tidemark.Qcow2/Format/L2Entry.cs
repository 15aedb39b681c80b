namespace Tidemark.Qcow2.Format;

/// <summary>Pure questions to an entry of an L1 or L2 table (docs/interop/qcow2, "Cluster mapping").</summary>
internal static class L2Entry
{
    internal const ulong OffsetMask = 0x00ff_ffff_ffff_fe00;
    internal const ulong ReservedMask = 0x3f00_0000_0000_01fe;
    internal const ulong L1ReservedMask = 0x7f00_0000_0000_01ff;

    /// <summary>The refcount is exactly one, so the cluster may be written in place.</summary>
    internal const ulong Copied = 1UL << 63;
    internal const ulong Compressed = 1UL << 62;

    /// <summary>Reads as zeroes whatever the offset says.</summary>
    internal const ulong Zero = 1;

    internal static long HostOffset(ulong entry) => (long)(entry & OffsetMask);

    /// <summary>Where the compressed bytes are: the offset need not be aligned, the length is in whole
    /// sectors.</summary>
    internal static (long Offset, int Length) CompressedRange(ulong entry, int clusterBits)
    {
        const int SectorSize = 512;
        var shift = 62 - (clusterBits - 8);
        var offset = (long)(entry & ((1UL << shift) - 1));
        var sectors = (int)((entry >> shift) & ((1UL << (clusterBits - 8)) - 1)) + 1;
        return (offset, (sectors * SectorSize) - (int)(offset & (SectorSize - 1)));
    }

    /// <summary>The entry for compressed bytes.</summary>
    internal static ulong CompressedWord(long offset, int length, int clusterBits)
    {
        const int SectorBits = 9;
        var shift = 62 - (clusterBits - 8);
        var sectors = ((offset + length - 1) >> SectorBits) - (offset >> SectorBits);
        return Compressed | (ulong)offset | ((ulong)sectors << shift);
    }
}
