using System.Buffers.Binary;
using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Bitmaps;
using Tidemark.Qcow2.Format;
using Tidemark.Qcow2.Metadata;

namespace Tidemark.Qcow2.Checking;

/// <summary>
/// Counts every reference to every cluster of an image that is not in use, and compares with its refcounts: what is
/// counted too often is a leak, what is used more often than counted is corruption, and so is a reference to what is
/// not in the file. Changes nothing.
/// </summary>
/// <remarks>Memory: two bytes for each cluster of the file that lies near a used one, up to a limit. Tables are read in
/// pieces.</remarks>
public sealed class Qcow2Check
{
    /// <summary>The most memory for counters: 1 GiB, enough for 32 TiB of clusters of 64 KiB.</summary>
    public const long DefaultMemoryLimit = 1L << 30;

    // Tables are read in pieces of this.
    private const int PieceLength = 64 * 1024;

    private readonly ImageFile _file;
    private readonly Qcow2Header _header;
    private readonly UseCounters _uses;
    private readonly List<string> _messages = [];
    private int _leaks;
    private int _corruptions;
    private long _allocated;
    private RefcountStore? _store;

    private Qcow2Check(ImageFile file, Qcow2Header header, UseCounters uses)
    {
        _file = file;
        _header = header;
        _uses = uses;
    }

    private long ClusterSize => _header.ClusterSize;

    /// <summary>Checks the image in a file node.</summary>
    public static ValueTask<Qcow2CheckReport> RunAsync(BlockNode file,
        CancellationToken cancellationToken = default) => RunAsync(file, DefaultMemoryLimit, cancellationToken);

    /// <summary>Checks the image in a file node.</summary>
    /// <param name="file">The image.</param>
    /// <param name="memoryLimit">The most bytes of memory for counters.</param>
    /// <param name="cancellationToken">Stops the check.</param>
    /// <exception cref="Qcow2Exception">Not an image, or it needs more memory than the limit.</exception>
    public static async ValueTask<Qcow2CheckReport> RunAsync(BlockNode file, long memoryLimit,
        CancellationToken cancellationToken = default)
    {
        var header = await Qcow2Image.ReadHeaderAsync(file, cancellationToken).ConfigureAwait(false);
        using ImageFile image = new(file, header.ClusterBits, 1);
        var clusters = image.EndOfClusters >> header.ClusterBits;
        Qcow2Check check = new(image, header, new UseCounters(clusters, memoryLimit));
        await check.CountAsync(cancellationToken).ConfigureAwait(false);
        await check.CompareAsync(cancellationToken).ConfigureAwait(false);
        return new Qcow2CheckReport
        {
            Leaks = check._leaks,
            Corruptions = check._corruptions,
            AllocatedClusters = check._allocated,
            Messages = check._messages,
        };
    }

    private async ValueTask CountAsync(CancellationToken cancellationToken)
    {
        Use(0, ClusterSize, "header");
        await CountMappingAsync(_header.L1Offset, _header.L1EntryCount, isActive: true, cancellationToken)
            .ConfigureAwait(false);
        Use(_header.RefcountTableOffset, _header.RefcountTableClusters * ClusterSize, "refcount table");
        if (_header.SnapshotCount > 0)
        {
            var (snapshots, length) = await SnapshotTable.ReadAsync(_header, _file.ReadAsync, false, cancellationToken)
                .ConfigureAwait(false);
            Use(_header.SnapshotsOffset, length, "snapshot table");
            foreach (var snapshot in snapshots)
            {
                await CountMappingAsync(snapshot.L1Offset, snapshot.L1EntryCount, isActive: false, cancellationToken)
                    .ConfigureAwait(false);
            }
        }

        if (_header.Bitmaps is { } bitmaps)
        {
            await CountBitmapsAsync(bitmaps, cancellationToken).ConfigureAwait(false);
        }
    }

    private async ValueTask CountMappingAsync(long l1Offset, int count, bool isActive,
        CancellationToken cancellationToken)
    {
        if (count == 0)
        {
            return;
        }

        if (!Use(l1Offset, count * 8L, "L1 table"))
        {
            return;
        }

        const int PerPiece = PieceLength / 8;
        var l1 = new byte[Math.Min(count, PerPiece) * 8];
        var l2 = new byte[ClusterSize];
        for (var index = 0; index < count; index++)
        {
            if (index % PerPiece == 0)
            {
                var piece = l1.AsMemory(0, Math.Min(PerPiece, count - index) * 8);
                await _file.ReadAsync(l1Offset + (index * 8L), piece, cancellationToken).ConfigureAwait(false);
            }

            var entry = BinaryPrimitives.ReadUInt64BigEndian(l1.AsSpan(index % PerPiece * 8));
            var offset = L2Entry.HostOffset(entry);
            if (offset == 0)
            {
                continue;
            }

            if ((entry & L2Entry.L1ReservedMask) != 0 || offset % ClusterSize != 0)
            {
                Corrupt($"L1 entry {index} is 0x{entry:x16}");
            }
            else if (Use(offset, ClusterSize, "L2 table"))
            {
                await _file.ReadAsync(offset, l2, cancellationToken).ConfigureAwait(false);
                await CheckCopiedAsync(entry, offset, isActive, cancellationToken).ConfigureAwait(false);
                await CountL2Async(l2, isActive, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    private async ValueTask CountL2Async(byte[] l2, bool isActive, CancellationToken cancellationToken)
    {
        for (var index = 0; index < l2.Length / 8; index++)
        {
            var entry = BinaryPrimitives.ReadUInt64BigEndian(l2.AsSpan(index * 8));
            switch (L2Entry.KindOf(entry))
            {
                case ClusterKind.Compressed:
                    _allocated += isActive ? 1 : 0;
                    var (start, length) = L2Entry.CompressedRange(entry, _header.ClusterBits);
                    Use(start, length, "compressed cluster");
                    break;
                case ClusterKind.Data or ClusterKind.ZeroAllocated:
                    _allocated += isActive ? 1 : 0;
                    var offset = L2Entry.HostOffset(entry);
                    if ((entry & L2Entry.ReservedMask) != 0 || offset % ClusterSize != 0)
                    {
                        Corrupt($"L2 entry 0x{entry:x16} is not possible");
                    }
                    else if (Use(offset, ClusterSize, "data"))
                    {
                        await CheckCopiedAsync(entry, offset, isActive, cancellationToken).ConfigureAwait(false);
                    }

                    break;
                default:
                    break;
            }
        }
    }

    private async ValueTask CountBitmapsAsync(BitmapsExtension bitmaps, CancellationToken cancellationToken)
    {
        if (!Use(bitmaps.DirectoryOffset, bitmaps.DirectoryLength, "bitmap directory"))
        {
            return;
        }

        var bytes = new byte[bitmaps.DirectoryLength];
        await _file.ReadAsync(bitmaps.DirectoryOffset, bytes, cancellationToken).ConfigureAwait(false);
        try
        {
            foreach (var entry in BitmapDirectoryEntry.ReadAll(bytes, bitmaps.Count, _header.ClusterSize))
            {
                Use(entry.TableOffset, entry.TableEntries * 8L, $"table of bitmap '{entry.Name}'");
                foreach (var cluster in await BitmapBits.ReadTableAsync(_file, entry, _header.ClusterSize,
                    cancellationToken)
                    .ConfigureAwait(false))
                {
                    if ((cluster & L2Entry.OffsetMask) != 0)
                    {
                        Use((long)cluster, ClusterSize, $"bits of bitmap '{entry.Name}'");
                    }
                }
            }
        }
        catch (Qcow2Exception exception)
        {
            Corrupt(exception.Message);
        }
    }

    private async ValueTask CompareAsync(CancellationToken cancellationToken)
    {
        var store = await OpenRefcountsAsync(cancellationToken).ConfigureAwait(false);
        foreach (var offset in store.BlockOffsets)
        {
            if (offset % ClusterSize != 0)
            {
                Corrupt($"refcount block at 0x{offset:x} is not aligned to a cluster");
            }
            else
            {
                Use(offset, ClusterSize, "refcount block");
            }
        }

        // What neither a block counts nor anything uses agrees: only the rest of the file is gone through.
        foreach (var (first, end) in Merge(_uses.UsedStretches(), store.CountedStretches(_uses.Clusters)))
        {
            await CompareAsync(store, first, end, cancellationToken).ConfigureAwait(false);
        }
    }

    private static IEnumerable<(long First, long End)> Merge(
        IEnumerable<(long First, long End)> one, IEnumerable<(long First, long End)> other)
    {
        long done = 0;
        foreach (var (first, end) in one.Concat(other).OrderBy(stretch => stretch.First))
        {
            if (end > done)
            {
                yield return (Math.Max(first, done), end);
                done = end;
            }
        }
    }

    private async ValueTask CompareAsync(
        RefcountStore store, long first, long end, CancellationToken cancellationToken)
    {
        for (var cluster = first; cluster < end; cluster++)
        {
            var count = await store.GetAsync(cluster, cancellationToken).ConfigureAwait(false);
            if (count < (ulong)_uses[cluster])
            {
                Corrupt($"cluster {cluster} is used {_uses[cluster]} times and counted {count} times");
            }
            else if (count > (ulong)_uses[cluster])
            {
                _leaks++;
                Note($"leaked cluster {cluster}: used {_uses[cluster]} times, counted {count} times");
            }
        }
    }

    // A copied flag where the count is not one lets a write change what a snapshot holds; a missing one costs a copy.
    private async ValueTask CheckCopiedAsync(ulong entry, long offset, bool isActive,
        CancellationToken cancellationToken)
    {
        if (isActive && (entry & L2Entry.Copied) != 0)
        {
            var store = await OpenRefcountsAsync(cancellationToken).ConfigureAwait(false);
            var count = await store.GetAsync(offset >> _header.ClusterBits, cancellationToken).ConfigureAwait(false);
            if (count != 1)
            {
                Corrupt($"entry 0x{entry:x16} says that its cluster is used once; it is counted {count} times");
            }
        }
    }

    private async ValueTask<RefcountStore> OpenRefcountsAsync(CancellationToken cancellationToken)
    {
        const int CachedBlocks = 16;
        return _store ??= await RefcountStore.OpenAsync(
            _file, _header, CachedBlocks, static (_, _, _) => throw new InvalidOperationException(), cancellationToken)
            .ConfigureAwait(false);
    }

    // Counts one use of every cluster that a range touches; false when it is not in the file.
    private bool Use(long offset, long length, string what)
    {
        if (offset < 0 || offset > _file.EndOfClusters || length > _file.EndOfClusters - offset)
        {
            Corrupt($"{what} at 0x{offset:x}, {length} bytes, lies past the end of the file");
            return false;
        }

        var last = (offset + length - 1) >> _header.ClusterBits;
        for (var cluster = offset >> _header.ClusterBits; cluster <= last; cluster++)
        {
            _uses.Add(cluster);
        }

        return true;
    }

    private void Corrupt(string message)
    {
        _corruptions++;
        Note(message);
    }

    private void Note(string message)
    {
        if (_messages.Count < Qcow2CheckReport.MaximumMessages)
        {
            _messages.Add(message);
        }
    }
}
