using System.Buffers;
using System.Buffers.Binary;

namespace Tidemark.Qcow2.Metadata;

/// <summary>Reads tables of 64-bit words that stay in memory as a whole: piece by piece, so that a large one is there
/// once and not twice.</summary>
internal static class TableReader
{
    private const int PieceLength = 64 << 10;

    /// <summary>Reads a table of so many entries.</summary>
    internal static async ValueTask<ulong[]> ReadAsync(
        ImageFile file, long offset, int count, CancellationToken cancellationToken)
    {
        var table = new ulong[count];
        var piece = ArrayPool<byte>.Shared.Rent(PieceLength);
        try
        {
            const int Entries = PieceLength / sizeof(ulong);
            for (var done = 0; done < count; done += Entries)
            {
                var part = Math.Min(Entries, count - done);
                await file.ReadAsync(
                    offset + ((long)done * sizeof(ulong)), piece.AsMemory(0, part * sizeof(ulong)), cancellationToken)
                    .ConfigureAwait(false);
                Decode(piece, table.AsSpan(done, part));
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(piece);
        }

        return table;
    }

    private static void Decode(ReadOnlySpan<byte> bytes, Span<ulong> entries)
    {
        for (var index = 0; index < entries.Length; index++)
        {
            entries[index] = BinaryPrimitives.ReadUInt64BigEndian(bytes[(index * sizeof(ulong))..]);
        }
    }
}
