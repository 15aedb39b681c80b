// Cuts a window of a disk into chunks and says where each part of each chunk comes from.
//
//   dirty by the bitmap   reads as zero    the part comes from
//   no                    either           the parent
//   yes                   yes              zeroes, unread
//   yes                   no               the frozen view
//
// Without a bitmap everything counts as dirty. Both lists describe the window without gaps; a list that ends early is
// refused, because what it does not describe would be taken for clean.

using Tidemark.Backup.Definitions;
using Tidemark.Blocks.Extents;

namespace Tidemark.Backup.Transfer;

/// <summary>Decides where the parts of chunks come from.</summary>
internal static class ChunkCutter
{
    /// <summary>Cuts a window.</summary>
    /// <param name="offset">The window's first byte: a chunk's border.</param>
    /// <param name="length">Its length; it ends at a chunk's border or at the disk's end.</param>
    /// <param name="chunkSize">Bytes per chunk.</param>
    /// <param name="allocation">Block status of exactly the window.</param>
    /// <param name="dirty">The bitmap's extents of exactly the window; null: all is dirty.</param>
    internal static IEnumerable<ChunkWork> Cut(
        long offset, long length, int chunkSize, IReadOnlyList<Extent> allocation, IReadOnlyList<Extent>? dirty)
    {
        Check(allocation, offset, length, "base:allocation");
        if (dirty is not null)
        {
            Check(dirty, offset, length, "the dirty bitmap");
        }

        var allocationAt = 0;
        var dirtyAt = 0;
        for (var start = offset; start < offset + length; start += chunkSize)
        {
            var end = Math.Min(start + chunkSize, offset + length);
            List<ChunkPiece> pieces = [];
            List<ChunkPiece> cleanHoles = [];
            var hasCleanData = false;
            var isHole = true;
            for (var at = start; at < end;)
            {
                while (allocation[allocationAt].End <= at)
                {
                    allocationAt++;
                }

                var stop = Math.Min(end, allocation[allocationAt].End);
                var isZero = allocation[allocationAt].IsZero;
                var isDirty = true;
                if (dirty is not null)
                {
                    while (dirty[dirtyAt].End <= at)
                    {
                        dirtyAt++;
                    }

                    stop = Math.Min(stop, dirty[dirtyAt].End);
                    isDirty = dirty[dirtyAt].IsDirty;
                }

                isHole &= isZero;
                var source = !isDirty ? PieceSource.Parent : isZero ? PieceSource.Zero : PieceSource.View;
                Append(pieces, (int)(at - start), (int)(stop - at), source);
                if (!isDirty && isZero)
                {
                    Append(cleanHoles, (int)(at - start), (int)(stop - at), source);
                }

                hasCleanData |= !isDirty && !isZero;
                at = stop;
            }

            yield return new ChunkWork((int)(start / chunkSize), pieces, isHole, cleanHoles, hasCleanData);
        }
    }

    private static void Append(List<ChunkPiece> pieces, int start, int length, PieceSource source)
    {
        if (pieces.Count > 0 && pieces[^1].Source == source && pieces[^1].Start + pieces[^1].Length == start)
        {
            pieces[^1] = pieces[^1] with { Length = pieces[^1].Length + length };
            return;
        }

        pieces.Add(new ChunkPiece(start, length, source));
    }

    private static void Check(IReadOnlyList<Extent> extents, long offset, long length, string context)
    {
        if (extents.Count == 0 || extents[0].Offset != offset || extents[^1].End != offset + length)
        {
            throw new BackupException(
                BackupErrorKind.Transfer,
                $"{context} does not describe the {length} bytes at {offset}: nothing can be left out on its word");
        }
    }
}
