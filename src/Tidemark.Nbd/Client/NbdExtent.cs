namespace Tidemark.Nbd.Client;

/// <summary>A run of bytes of an export for which a metadata context says the same.</summary>
/// <param name="Offset">First byte.</param>
/// <param name="Length">Number of bytes, more than zero.</param>
/// <param name="State">What the context says, as it defines it: <c>base:allocation</c> has 1 for a hole and 2 for
/// zeroes, a dirty bitmap 1 for dirty, <c>qemu:allocation-depth</c> a number.</param>
public readonly record struct NbdExtent(long Offset, long Length, ulong State)
{
    /// <summary>The offset of the first byte after the run.</summary>
    public long End => Offset + Length;
}
