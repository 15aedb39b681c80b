namespace Tidemark.Nbd.Copy;

/// <summary>The next thing to copy.</summary>
/// <param name="Offset">First byte.</param>
/// <param name="Length">Number of bytes; those of data fit in one request.</param>
/// <param name="IsZero">Whether the source says that all of it reads as zero.</param>
internal readonly record struct CopyPiece(long Offset, long Length, bool IsZero);
