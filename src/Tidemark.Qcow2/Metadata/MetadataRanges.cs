using Tidemark.Qcow2.Format;

namespace Tidemark.Qcow2.Metadata;

/// <summary>
/// Where the tables lie that are found without reading another: header, L1 table, refcount table, snapshot table. No
/// data is ever written there and no cluster of theirs is handed out, whatever a damaged L2 table or refcount says.
/// </summary>
internal sealed class MetadataRanges
{
    private readonly (long Offset, long End, string Name)[] _ranges;

    internal MetadataRanges(Qcow2Header header, long snapshotTableLength) => _ranges =
    [
        (0, header.ClusterSize, "header"),
        (header.L1Offset, header.L1Offset + (header.L1EntryCount * 8L), "L1 table"),
        (header.RefcountTableOffset,
            header.RefcountTableOffset + ((long)header.RefcountTableClusters << header.ClusterBits), "refcount table"),
        (header.SnapshotsOffset, header.SnapshotsOffset + snapshotTableLength, "snapshot table"),
    ];

    /// <summary>Refuses to touch a range that overlaps one of the tables.</summary>
    internal void Check(long offset, long length, string what)
    {
        foreach (var (start, end, name) in _ranges)
        {
            if (offset < end && start < offset + length)
            {
                throw Qcow2Exception.Corrupt(
                    $"{what} at 0x{offset:x}, {length} bytes, would overwrite the {name} at 0x{start:x}; check "
                    + $"the image");
            }
        }
    }
}
