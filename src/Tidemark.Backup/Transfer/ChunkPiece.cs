namespace Tidemark.Backup.Transfer;

/// <summary>A part of a chunk.</summary>
/// <param name="Start">Its first byte in the chunk.</param>
/// <param name="Length">Its length in bytes.</param>
/// <param name="Source">Where it comes from.</param>
internal readonly record struct ChunkPiece(int Start, int Length, PieceSource Source);
