namespace Tidemark.Backup.Transfer;

/// <summary>A chunk and where its parts come from, in order, without gaps.</summary>
/// <param name="Index">The chunk.</param>
/// <param name="Pieces">Its parts; neighbours differ in their source.</param>
/// <param name="IsHole">Whether the disk reads as zero over the whole chunk, changed or not.</param>
/// <param name="CleanHoles">The parts that are clean and read as zero: there the parent must be zero too.</param>
/// <param name="HasCleanData">Whether a part is clean and does not read as zero.</param>
internal sealed record ChunkWork(
    int Index,
    IReadOnlyList<ChunkPiece> Pieces,
    bool IsHole,
    IReadOnlyList<ChunkPiece> CleanHoles,
    bool HasCleanData)
{
    /// <summary>Whether the whole chunk comes from one source.</summary>
    internal bool IsAll(PieceSource source) => Pieces.Count == 1 && Pieces[0].Source == source;

    /// <summary>Whether a part comes from a source.</summary>
    internal bool Has(PieceSource source)
    {
        foreach (var piece in Pieces)
        {
            if (piece.Source == source)
            {
                return true;
            }
        }

        return false;
    }
}
