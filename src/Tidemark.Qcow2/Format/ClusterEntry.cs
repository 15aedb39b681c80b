namespace Tidemark.Qcow2.Format;

/// <summary>One L2 entry.</summary>
/// <param name="Word">Offset and flags, or the description of compressed bytes.</param>
/// <param name="Units">With extended L2 entries: bit u says that subcluster u is allocated, bit 32 + u that it reads as
/// zeroes. Zero in other images.</param>
internal readonly record struct ClusterEntry(ulong Word, ulong Units)
{
    /// <summary>Every subcluster reads as zeroes.</summary>
    internal const ulong AllZero = 0xffff_ffff_0000_0000;

    internal uint AllocatedUnits => (uint)Units;

    internal uint ZeroUnits => (uint)(Units >> 32);

    internal bool IsCompressed => (Word & L2Entry.Compressed) != 0;

    internal bool IsCopied => (Word & L2Entry.Copied) != 0;

    internal long HostOffset => L2Entry.HostOffset(Word);
}
