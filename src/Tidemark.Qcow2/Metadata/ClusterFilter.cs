using System.Numerics;

namespace Tidemark.Qcow2.Metadata;

/// <summary>
/// Whether a cluster may be one of a set: no is certain, yes is to be looked up. One bit probe, so that every write can
/// ask; at most <see cref="MaximumBytes"/> of memory, whatever the image says.
/// </summary>
/// <remarks>Adding is for one thread at a time, asking for any.</remarks>
internal sealed class ClusterFilter
{
    internal const int MaximumBytes = 8 << 20;
    private const int BitsPerMember = 32;
    private const int MinimumBits = 1 << 12;

    private readonly ulong[] _bits;
    private readonly int _shift;

    /// <param name="expected">How many members there will be, about: more make it say yes more often.</param>
    internal ClusterFilter(long expected)
    {
        var bits = Math.Clamp(expected * BitsPerMember, MinimumBits, MaximumBytes * 8L);
        var order = BitOperations.Log2((ulong)bits);
        _bits = new ulong[1 << (order - 6)];
        _shift = 64 - order;
    }

    internal void Add(long cluster)
    {
        var place = PlaceOf(cluster);
        Volatile.Write(ref _bits[place >> 6], _bits[place >> 6] | (1UL << (place & 63)));
    }

    internal bool MayContain(long cluster)
    {
        var place = PlaceOf(cluster);
        return (Volatile.Read(ref _bits[place >> 6]) & (1UL << (place & 63))) != 0;
    }

    private int PlaceOf(long cluster) => (int)(((ulong)cluster * 0x9e37_79b9_7f4a_7c15) >> _shift);
}
