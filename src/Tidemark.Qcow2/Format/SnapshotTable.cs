using System.Buffers.Binary;
using System.Text;

namespace Tidemark.Qcow2.Format;

/// <summary>Reads the snapshot table.</summary>
internal static class SnapshotTable
{
    private const int FixedLength = 40;

    /// <summary>Reads all snapshots.</summary>
    /// <returns>The snapshots and the table's length in bytes.</returns>
    internal static async ValueTask<(IReadOnlyList<InternalSnapshot> Snapshots, long Length)> ReadAsync(
        Qcow2Header header, Func<long, Memory<byte>, CancellationToken, ValueTask> read,
        CancellationToken cancellationToken)
    {
        List<InternalSnapshot> snapshots = [];
        var offset = header.SnapshotsOffset;
        var entry = new byte[FixedLength];
        for (var index = 0; index < header.SnapshotCount; index++)
        {
            await read(offset, entry, cancellationToken).ConfigureAwait(false);
            var extra = BinaryPrimitives.ReadUInt32BigEndian(entry.AsSpan(36));
            var idLength = BinaryPrimitives.ReadUInt16BigEndian(entry.AsSpan(12));
            var nameLength = BinaryPrimitives.ReadUInt16BigEndian(entry.AsSpan(14));
            var l1Offset = BinaryPrimitives.ReadUInt64BigEndian(entry);
            var l1Count = BinaryPrimitives.ReadUInt32BigEndian(entry.AsSpan(8));
            var used = offset - header.SnapshotsOffset + FixedLength + extra + idLength + nameLength;
            if (used > Qcow2Limits.MaximumSnapshotTableBytes)
            {
                throw Qcow2Exception.Corrupt(
                    $"snapshot {index} ends {used} bytes into the snapshot table; the limit is "
                    + $"{Qcow2Limits.MaximumSnapshotTableBytes}");
            }

            if (l1Count > Qcow2Limits.MaximumL1Bytes / 8 || l1Offset > Qcow2Limits.MaximumHostOffset
                || l1Offset % (ulong)header.ClusterSize != 0)
            {
                throw Qcow2Exception.Corrupt(
                    $"snapshot {index} has an L1 table of {l1Count} entries at 0x{l1Offset:x}, which is not possible");
            }

            var names = new byte[idLength + nameLength];
            await read(offset + FixedLength + extra, names, cancellationToken).ConfigureAwait(false);
            snapshots.Add(new InternalSnapshot(
                Encoding.UTF8.GetString(names.AsSpan(0, idLength)),
                Encoding.UTF8.GetString(names.AsSpan(idLength)),
                (long)l1Offset,
                (int)l1Count));
            offset += (FixedLength + extra + idLength + nameLength + 7) & ~7L;
        }

        return (snapshots, offset - header.SnapshotsOffset);
    }
}
