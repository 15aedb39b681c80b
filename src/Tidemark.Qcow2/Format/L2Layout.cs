using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.CompilerServices;

namespace Tidemark.Qcow2.Format;

/// <summary>
/// How the L2 entries of one image are laid out and what they mean: 8 bytes for a cluster, or 16 with a bitmap of its
/// 32 subclusters (docs/interop/qcow2, "Extended L2 Entries"). A <em>unit</em> is the smallest piece with a state of
/// its own: the subcluster there, the cluster else.
/// </summary>
/// <remarks>With an external data file host offset 0 is a cluster like any other: there an entry without the copied
/// flag is the one that is not allocated.</remarks>
internal sealed class L2Layout
{
    private const int SubclusterBits = 5;

    private readonly ulong _allocatedMask;
    private readonly ulong _reservedMask;
    private readonly int _entryBits;

    internal L2Layout(Qcow2Header header)
    {
        ClusterBits = header.ClusterBits;
        IsExtended = header.HasExtendedL2;
        HasDataFile = header.HasDataFile;
        HasZeroFlag = header.Version >= 3;
        _entryBits = IsExtended ? 4 : 3;
        TableBits = ClusterBits - _entryBits;
        UnitBits = IsExtended ? ClusterBits - SubclusterBits : ClusterBits;
        UnitsPerCluster = IsExtended ? 1 << SubclusterBits : 1;
        _allocatedMask = L2Entry.OffsetMask | (HasDataFile ? L2Entry.Copied : 0);
        _reservedMask = L2Entry.ReservedMask | (HasZeroFlag && !IsExtended ? 0 : L2Entry.Zero);
    }

    internal int ClusterBits { get; }

    /// <summary>A table has 2 to this power entries.</summary>
    internal int TableBits { get; }

    internal int TableEntries => 1 << TableBits;

    /// <summary>A unit has 2 to this power bytes.</summary>
    internal int UnitBits { get; }

    internal int UnitsPerCluster { get; }

    internal bool IsExtended { get; }

    internal bool HasDataFile { get; }

    internal bool HasZeroFlag { get; }

    /// <summary>Guest bytes that one table maps, as a power of two.</summary>
    internal int CoverageBits => TableBits + ClusterBits;

    internal int IndexOf(long guestOffset) => (int)(guestOffset >> ClusterBits) & (TableEntries - 1);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal ClusterEntry Read(byte[] table, int index)
    {
        var at = index << _entryBits;
        var word = BinaryPrimitives.ReadUInt64BigEndian(table.AsSpan(at));
        return new ClusterEntry(word, IsExtended ? BinaryPrimitives.ReadUInt64BigEndian(table.AsSpan(at + 8)) : 0);
    }

    internal void Write(byte[] table, int index, ClusterEntry entry)
    {
        var at = index << _entryBits;
        BinaryPrimitives.WriteUInt64BigEndian(table.AsSpan(at), entry.Word);
        if (IsExtended)
        {
            BinaryPrimitives.WriteUInt64BigEndian(table.AsSpan(at + 8), entry.Units);
        }
    }

    /// <summary>Whether a host cluster, not compressed bytes, is set aside for the entry.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool HasHost(ClusterEntry entry) => !entry.IsCompressed && (entry.Word & _allocatedMask) != 0
        && (IsExtended || (entry.Word & L2Entry.Zero) == 0 || (entry.Word & L2Entry.OffsetMask) != 0);

    /// <summary>Whether a unit of that kind has a place in the file, though it may not be read from there: QEMU shows
    /// that place also for a subcluster that is not allocated in a cluster that is.</summary>
    internal bool IsPlaced(ClusterEntry entry, ClusterKind kind) =>
        kind is ClusterKind.Data or ClusterKind.ZeroAllocated
        || (IsExtended && kind == ClusterKind.Unallocated && HasHost(entry));

    /// <summary>What one unit of the entry is.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal ClusterKind KindOf(ClusterEntry entry, int unit)
    {
        if (entry.IsCompressed)
        {
            return ClusterKind.Compressed;
        }

        var host = HasHost(entry);
        if (!IsExtended)
        {
            return (entry.Word & L2Entry.Zero) != 0
                ? (host ? ClusterKind.ZeroAllocated : ClusterKind.ZeroPlain)
                : (host ? ClusterKind.Data : ClusterKind.Unallocated);
        }

        return (entry.ZeroUnits & (1u << unit)) != 0 ? (host ? ClusterKind.ZeroAllocated : ClusterKind.ZeroPlain)
            : (entry.AllocatedUnits & (1u << unit)) != 0 ? ClusterKind.Data
            : ClusterKind.Unallocated;
    }

    /// <summary>How many units of the entry from <paramref name="unit"/> on are of the same kind as it.</summary>
    internal int UniformUnits(ClusterEntry entry, int unit)
    {
        if (!IsExtended || entry.IsCompressed)
        {
            return UnitsPerCluster - unit;
        }

        var zero = entry.ZeroUnits >> unit;
        var allocated = entry.AllocatedUnits >> unit;
        var same = (zero & 1) != 0 ? zero : (allocated & 1) != 0 ? allocated : ~(zero | allocated);
        return Math.Min(UnitsPerCluster - unit, BitOperations.TrailingZeroCount(~same));
    }

    /// <summary>Why an entry cannot be, or null when it can. Says nothing of whether its cluster is in the
    /// file.</summary>
    internal string? ProblemOf(ClusterEntry entry)
    {
        if (entry.IsCompressed)
        {
            var (host, _) = L2Entry.CompressedRange(entry.Word, ClusterBits);
            return entry.Units != 0 ? "has subclusters although it is compressed"
                : HasDataFile ? "is compressed, which an image with a data file cannot hold"
                : host is 0 or >= Qcow2Limits.MaximumHostOffset ? "names no place in the file"
                : null;
        }

        if ((entry.Word & _reservedMask) != 0)
        {
            return "has reserved bits set";
        }

        if ((entry.HostOffset & ((1L << ClusterBits) - 1)) != 0)
        {
            return "names an offset that is not that of a cluster";
        }

        return (entry.AllocatedUnits & entry.ZeroUnits) != 0 ? "has subclusters that are allocated and zero at once"
            : IsExtended && entry.AllocatedUnits != 0 && !HasHost(entry) ? "has subclusters and no cluster for them"
            : null;
    }
}
