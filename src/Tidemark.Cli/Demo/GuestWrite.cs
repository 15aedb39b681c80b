namespace Tidemark.Cli.Demo;

/// <summary>One write of the guest: everything that is needed to make it again.</summary>
/// <param name="Number">1 for the guest's first write; the guest has one write under way at a time.</param>
/// <param name="Offset">Where, in bytes.</param>
/// <param name="Length">How much, in bytes.</param>
/// <param name="Kind">What.</param>
/// <param name="Seed">Makes the bytes, with <paramref name="Kind"/>.</param>
internal readonly record struct GuestWrite(int Number, long Offset, int Length, ContentKind Kind, ulong Seed);
