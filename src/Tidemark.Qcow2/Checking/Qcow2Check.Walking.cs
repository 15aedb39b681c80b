using System.Buffers.Binary;
using Tidemark.Qcow2.Bitmaps;
using Tidemark.Qcow2.Format;

namespace Tidemark.Qcow2.Checking;

// Following every reference.
public sealed partial class Qcow2Check
{
    // Tables are read in pieces of this: memory does not grow with what an image says they are.
    private const int ReadLength = 64 * 1024;

    private readonly byte[] _piece = new byte[ReadLength];
    private byte[]? _l2;

    private async ValueTask CountMetadataAsync(CancellationToken cancellationToken)
    {
        Use(0, ClusterSize, UseKind.Other, "header");
        await CountMappingAsync(_header.L1Offset, _header.L1EntryCount, isActive: true, cancellationToken)
            .ConfigureAwait(false);
        if (_header.SnapshotCount > 0)
        {
            await CountSnapshotsAsync(cancellationToken).ConfigureAwait(false);
        }

        if (_header.Bitmaps is { } bitmaps)
        {
            await CountBitmapsAsync(bitmaps, cancellationToken).ConfigureAwait(false);
        }
        else if (_header.BitmapsProblem is { } problem)
        {
            Report(problem);
        }
    }

    private async ValueTask CountSnapshotsAsync(CancellationToken cancellationToken)
    {
        IReadOnlyList<InternalSnapshot> snapshots;
        try
        {
            (snapshots, var length) = await SnapshotTable.ReadAsync(
                _header, _file.ReadAsync, false, cancellationToken).ConfigureAwait(false);
            Use(_header.SnapshotsOffset, length, UseKind.Other, "snapshot table");
        }
        catch (Qcow2Exception exception)
        {
            Report(exception.Message);
            return;
        }

        foreach (var snapshot in snapshots)
        {
            if (_isFirstPass && !snapshot.IsComplete)
            {
                Corrupt($"ERROR snapshot table entry {snapshot.Index} is incomplete");
                _incomplete++;
            }

            await CountMappingAsync(snapshot.L1Offset, snapshot.L1EntryCount, isActive: false, cancellationToken)
                .ConfigureAwait(false);
        }
    }

    private async ValueTask CountMappingAsync(
        long l1Offset, int count, bool isActive, CancellationToken cancellationToken)
    {
        if (count == 0 || !Use(l1Offset, count * 8L, UseKind.Other, "L1 table"))
        {
            return;
        }

        var l1 = _piece;
        _l2 ??= new byte[ClusterSize];
        for (var index = 0; index < count; index++)
        {
            var inPiece = index * 8 % ReadLength;
            if (inPiece == 0)
            {
                var part = Math.Min(ReadLength, (count - index) * 8);
                await _file.ReadAsync(l1Offset + (index * 8L), l1.AsMemory(0, part), cancellationToken)
                    .ConfigureAwait(false);
            }

            var entry = BinaryPrimitives.ReadUInt64BigEndian(l1.AsSpan(inPiece));
            var offset = L2Entry.HostOffset(entry);
            if (offset == 0)
            {
                continue;
            }

            if ((entry & L2Entry.L1ReservedMask) != 0 || offset % ClusterSize != 0)
            {
                Report($"ERROR l2_offset=0x{offset:x}: Table is not cluster aligned; L1 entry {index} is "
                    + $"0x{entry:x16}");
            }
            else if (Use(offset, ClusterSize, UseKind.L2Table, "L2 table"))
            {
                await _file.ReadAsync(offset, _l2, cancellationToken).ConfigureAwait(false);
                if (CountL2(_l2, isActive) && RepairsAll)
                {
                    await _file.WriteAsync(offset, _l2, cancellationToken).ConfigureAwait(false);
                }
            }
        }
    }

    // Returns whether the table was changed.
    private bool CountL2(byte[] table, bool isActive)
    {
        var takesStatistics = isActive && _isFirstPass;
        long next = 0;
        var changed = false;
        for (var index = 0; index < _layout.TableEntries; index++)
        {
            var entry = _layout.Read(table, index);
            if (entry is { Word: 0, Units: 0 })
            {
                continue;
            }

            if (_layout.ProblemOf(entry) is { } problem)
            {
                Report($"ERROR L2 entry 0x{entry.Word:x16} {problem}");
                changed |= TryFixEntry(table, index, entry);
                continue;
            }

            if (entry.IsCompressed)
            {
                var (start, length) = L2Entry.CompressedRange(entry.Word, _header.ClusterBits);
                _allocated += takesStatistics ? 1 : 0;
                _compressed += takesStatistics ? 1 : 0;
                _fragmented += takesStatistics ? 1 : 0;

                // The last sectors of the file need not be there in full.
                Use(start, Math.Min(length, Math.Max(1, _fileEnd - start)), UseKind.Data,
                    "compressed cluster");
                if (entry.IsCopied)
                {
                    Report($"ERROR: cluster at 0x{start:x}: copied flag must never be set for compressed clusters");
                    changed |= Fix(table, index, entry with { Word = entry.Word & ~L2Entry.Copied });
                }
            }
            else if (_layout.HasHost(entry))
            {
                if (takesStatistics)
                {
                    _allocated++;
                    _fragmented += next != 0 && entry.HostOffset != next ? 1 : 0;
                    next = entry.HostOffset + ClusterSize;
                }

                if (!_layout.HasDataFile)
                {
                    Use(entry.HostOffset, ClusterSize, UseKind.Data, "data");
                }
            }
        }

        return changed;
    }

    // A zero cluster does not need the place that it names.
    private bool TryFixEntry(byte[] table, int index, ClusterEntry entry) =>
        !_layout.IsExtended && _layout.HasZeroFlag && !entry.IsCompressed && (entry.Word & L2Entry.Zero) != 0
        && (entry.Word & L2Entry.ReservedMask) == 0 && Fix(table, index, new ClusterEntry(L2Entry.Zero, 0));

    private bool Fix(byte[] table, int index, ClusterEntry entry)
    {
        if (!RepairsAll)
        {
            return false;
        }

        _corruptionsFixed += _isFirstPass ? 1 : 0;
        _layout.Write(table, index, entry);
        return true;
    }

    private async ValueTask CountBitmapsAsync(BitmapsExtension bitmaps, CancellationToken cancellationToken)
    {
        if (!Use(bitmaps.DirectoryOffset, bitmaps.DirectoryLength, UseKind.Other, "bitmap directory"))
        {
            return;
        }

        try
        {
            var bytes = new byte[bitmaps.DirectoryLength];
            await _file.ReadAsync(bitmaps.DirectoryOffset, bytes, cancellationToken).ConfigureAwait(false);
            foreach (var entry in BitmapDirectoryEntry.ReadAll(bytes, bitmaps.Count, _header.ClusterSize))
            {
                await CountBitmapAsync(entry, cancellationToken).ConfigureAwait(false);
            }
        }
        catch (Qcow2Exception exception)
        {
            Report(exception.Message);
        }
    }

    private async ValueTask CountBitmapAsync(BitmapDirectoryEntry entry, CancellationToken cancellationToken)
    {
        var length = (uint)entry.TableEntries * 8L;
        if (length / 8 * ClusterSize > Math.Max(ClusterSize, Qcow2Limits.MaximumBitmapBytes))
        {
            // In a huge and empty file such a table would be read for hours.
            Report($"the table of bitmap '{entry.Name}' has {length / 8} entries, which is not possible");
            return;
        }

        if (!Use(entry.TableOffset, length, UseKind.Other, $"table of bitmap '{entry.Name}'"))
        {
            return;
        }

        for (long done = 0; done < length; done += ReadLength)
        {
            var part = (int)Math.Min(ReadLength, length - done);
            await _file.ReadAsync(entry.TableOffset + done, _piece.AsMemory(0, part), cancellationToken)
                .ConfigureAwait(false);
            for (var at = 0; at < part; at += 8)
            {
                var value = BinaryPrimitives.ReadUInt64BigEndian(_piece.AsSpan(at));
                var offset = L2Entry.HostOffset(value);
                if ((value & ~L2Entry.OffsetMask & ~(offset == 0 ? 1UL : 0)) != 0 || offset % ClusterSize != 0)
                {
                    Report($"entry {(done + at) / 8} of the table of bitmap '{entry.Name}' is 0x{value:x}");
                }
                else if (offset != 0)
                {
                    Use(offset, ClusterSize, UseKind.Other, $"bits of bitmap '{entry.Name}'");
                }
            }
        }
    }
}
