using System.Buffers.Binary;
using System.Text;

namespace Tidemark.Qcow2.Format;

/// <summary>Reads the snapshot table.</summary>
internal static class SnapshotTable
{
    private const int FixedLength = 40;

    // Large machine state, disk size, instruction count; what follows is not known.
    private const int KnownExtraLength = 24;

    // Version 3 requires the first two.
    private const int RequiredExtraLength = 16;

    // The table is read in pieces of this, so that many small entries are few requests.
    private const int PieceLength = 16 * 1024;

    /// <summary>Reads all snapshots.</summary>
    /// <param name="header">Says where the table is.</param>
    /// <param name="read">Reads the file.</param>
    /// <param name="withNames">Whether ids and names are wanted; else only snapshots that have an L1 table are given,
    /// without their names, to know what they use.</param>
    /// <param name="cancellationToken">Stops the reading.</param>
    /// <returns>The snapshots and the table's length in bytes.</returns>
    internal static async ValueTask<(IReadOnlyList<InternalSnapshot> Snapshots, long Length)> ReadAsync(
        Qcow2Header header, Func<long, Memory<byte>, CancellationToken, ValueTask> read, bool withNames,
        CancellationToken cancellationToken)
    {
        if (header.SnapshotCount == 0)
        {
            return ([], 0);
        }

        List<InternalSnapshot> snapshots = [];
        var offset = header.SnapshotsOffset;
        var piece = new byte[PieceLength];
        var pieceOffset = long.MinValue;
        for (var index = 0; index < header.SnapshotCount; index++)
        {
            if (offset < pieceOffset || offset + FixedLength > pieceOffset + PieceLength)
            {
                await read(offset, piece, cancellationToken).ConfigureAwait(false);
                pieceOffset = offset;
            }

            var entry = piece.AsMemory((int)(offset - pieceOffset), FixedLength);
            var (l1Offset, l1Count) = Parse(
                entry.Span, header, index, offset, out var namesOffset, out var idLength, out var end);
            if (withNames)
            {
                InternalSnapshot snapshot = new("", "", l1Offset, l1Count);
                var extra = new byte[(int)Math.Min(namesOffset - offset - FixedLength, KnownExtraLength)];
                await read(offset + FixedLength, extra, cancellationToken).ConfigureAwait(false);
                snapshot = WithDetails(snapshot, entry.Span, extra);
                var names = new byte[(int)(end - namesOffset)];
                await read(namesOffset, names, cancellationToken).ConfigureAwait(false);
                snapshots.Add(snapshot with
                {
                    Id = Encoding.UTF8.GetString(names.AsSpan(0, idLength)),
                    Name = Encoding.UTF8.GetString(names.AsSpan(idLength)),
                });
            }
            else if (l1Count > 0)
            {
                snapshots.Add(new InternalSnapshot("", "", l1Offset, l1Count)
                {
                    Index = index,
                    IsComplete = header.Version < 3 || namesOffset - offset - FixedLength >= RequiredExtraLength,
                });
            }

            offset = header.SnapshotsOffset + ((end - header.SnapshotsOffset + 7) & ~7L);
        }

        return (snapshots, offset - header.SnapshotsOffset);
    }

    private static InternalSnapshot WithDetails(
        InternalSnapshot snapshot, ReadOnlySpan<byte> entry, ReadOnlySpan<byte> extra)
    {
        const int NanosecondsPerTick = 100;
        var seconds = BinaryPrimitives.ReadUInt32BigEndian(entry[16..]);
        var nanoseconds = BinaryPrimitives.ReadUInt32BigEndian(entry[20..]);
        var stateLength = extra.Length >= 8 ? BinaryPrimitives.ReadInt64BigEndian(extra) : 0;
        var count = extra.Length >= KnownExtraLength
            ? BinaryPrimitives.ReadUInt64BigEndian(extra[16..])
            : ulong.MaxValue;
        return snapshot with
        {
            Date = DateTimeOffset.FromUnixTimeSeconds(seconds).AddTicks(nanoseconds / NanosecondsPerTick),
            VmClock = BinaryPrimitives.ReadUInt64BigEndian(entry[24..]),
            VmStateLength = stateLength != 0 ? stateLength : BinaryPrimitives.ReadUInt32BigEndian(entry[32..]),
            DiskLength = extra.Length >= 16 ? BinaryPrimitives.ReadInt64BigEndian(extra[8..]) : null,
            InstructionCount = count == ulong.MaxValue ? null : count,
        };
    }

    private static (long L1Offset, int L1Count) Parse(
        ReadOnlySpan<byte> entry, Qcow2Header header, int index, long offset, out long namesOffset, out int idLength,
        out long end)
    {
        var l1Offset = BinaryPrimitives.ReadUInt64BigEndian(entry);
        var l1Count = BinaryPrimitives.ReadUInt32BigEndian(entry[8..]);
        idLength = BinaryPrimitives.ReadUInt16BigEndian(entry[12..]);
        namesOffset = offset + FixedLength + BinaryPrimitives.ReadUInt32BigEndian(entry[36..]);
        end = namesOffset + idLength + BinaryPrimitives.ReadUInt16BigEndian(entry[14..]);
        if (end - header.SnapshotsOffset > Qcow2Limits.MaximumSnapshotTableBytes)
        {
            throw Qcow2Exception.Corrupt(
                $"snapshot {index} ends {end - header.SnapshotsOffset} bytes into the snapshot table; the limit is "
                + $"{Qcow2Limits.MaximumSnapshotTableBytes}");
        }

        if (l1Count > Qcow2Limits.MaximumL1Bytes / 8 || l1Offset > Qcow2Limits.MaximumHostOffset
            || l1Offset % (ulong)header.ClusterSize != 0)
        {
            throw Qcow2Exception.Corrupt(
                $"snapshot {index} has an L1 table of {l1Count} entries at 0x{l1Offset:x}, which is not possible");
        }

        return ((long)l1Offset, (int)l1Count);
    }
}
