namespace Tidemark.Images.Parts;

/// <summary>A part of a disk that one worker takes.</summary>
/// <param name="Offset">Where it begins.</param>
/// <param name="Length">How long it is.</param>
/// <param name="Kind">What is to be done; its meaning is the producer's.</param>
internal readonly record struct DiskPart(long Offset, int Length, int Kind);
