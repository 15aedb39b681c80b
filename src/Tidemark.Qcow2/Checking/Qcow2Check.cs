using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Format;
using Tidemark.Qcow2.Metadata;

namespace Tidemark.Qcow2.Checking;

/// <summary>
/// Checks an image as qemu-img does, and repairs it if asked to. Counts what every table refers to and compares with
/// the refcounts: what is counted too often is a leak, what is used more often than counted is corruption, and so is a
/// reference to what is not in the file, a table that lies where something else lies, and a copied flag that the count
/// contradicts.
/// </summary>
/// <remarks>
/// <para>States of a pass: count uses (reading tables one after the other), compare with the refcounts of the same
/// clusters, and put these right. When the uses of all clusters do not fit in
/// <see cref="Qcow2CheckOptions.MemoryLimit"/> there are several passes, each for the next part of the file. Then the
/// copied flags.</para>
/// <para>Guarantees of a repair: a count is never made lower than the uses that were found; when the refcount table or
/// a block is damaged or missing, all of it is written anew behind the end of the file, flushed, and only then named by
/// the header. Guest data is not touched.</para>
/// </remarks>
public sealed partial class Qcow2Check
{
    // Small: blocks are compared in their order.
    private const int BlockCacheBytes = 4 << 20;
    private const int MinimumBlocks = 4;

    private readonly ImageFile _file;
    private readonly long _fileEnd;
    private readonly Qcow2CheckOptions _options;
    private readonly Qcow2Header _header;
    private readonly L2Layout _layout;
    private readonly UseCounts _uses;
    private readonly List<string> _messages = [];
    private readonly HashSet<long> _overlaps = [];
    private RefcountStore? _store;
    private bool _isFirstPass = true;
    private bool _mustRebuild;
    private bool _countsDiffer;
    private int _passes;
    private int _leaks;
    private int _corruptions;
    private int _leaksFixed;
    private int _corruptionsFixed;
    private int _checkErrors;
    private long _allocated;
    private long _fragmented;
    private long _compressed;
    private long _lastUsed = -1;
    private long _highestOutside = -1;
    private int _countErrors;
    private int _incomplete;

    private Qcow2Check(ImageFile file, Qcow2Header header, Qcow2CheckOptions options)
    {
        _file = file;
        _fileEnd = file.EndOfClusters;
        _header = header;
        _options = options;
        _layout = new L2Layout(header);
        _uses = new UseCounts(options.MemoryLimit);
    }

    private long ClusterSize => _header.ClusterSize;

    // As it was at the beginning: what a repair adds behind it is not checked.
    private long ClusterCount => _fileEnd >> _header.ClusterBits;

    private int CachedBlocks => Math.Max(MinimumBlocks, BlockCacheBytes >> _header.ClusterBits);

    private bool RepairsAll => _options.Repair == Qcow2Repair.All;

    /// <summary>Checks the image in a file node, and changes nothing.</summary>
    public static ValueTask<Qcow2CheckReport> RunAsync(
        BlockNode file, CancellationToken cancellationToken = default) =>
        RunAsync(file, new Qcow2CheckOptions(), cancellationToken);

    /// <summary>Checks the image in a file node, with so much memory for the uses that are counted, and changes
    /// nothing.</summary>
    public static ValueTask<Qcow2CheckReport> RunAsync(
        BlockNode file, long memoryLimit, CancellationToken cancellationToken = default) =>
        RunAsync(file, new Qcow2CheckOptions { MemoryLimit = memoryLimit }, cancellationToken);

    /// <summary>Checks the image in a file node. Nobody may use it meanwhile.</summary>
    /// <exception cref="Qcow2Exception">The header is damaged, or needs something that is not supported.</exception>
    /// <exception cref="BlockException">The storage failed; a repair that has begun is then not complete, and the image
    /// no worse than it was.</exception>
    public static async ValueTask<Qcow2CheckReport> RunAsync(
        BlockNode file, Qcow2CheckOptions options, CancellationToken cancellationToken = default)
    {
        if (options.Repair != Qcow2Repair.None && file.IsReadOnly)
        {
            throw new Qcow2Exception(BlockErrorKind.ReadOnly, $"cannot repair: node '{file.Name}' is read-only");
        }

        var header = await Qcow2Image.ReadHeaderAsync(file, cancellationToken).ConfigureAwait(false);
        if (options.Repair != Qcow2Repair.None)
        {
            Qcow2HeaderReader.CheckInside(header, file.Length);
        }

        using ImageFile image = new(file, header.ClusterBits, 1);
        Qcow2Check check = new(image, header, options);
        await check.CheckCountsAsync(cancellationToken).ConfigureAwait(false);
        if (check._mustRebuild && check.RepairsAll)
        {
            await check.RebuildAsync(cancellationToken).ConfigureAwait(false);
        }

        await check.CheckCopiedFlagsAsync(cancellationToken).ConfigureAwait(false);
        await check.FinishRepairAsync(cancellationToken).ConfigureAwait(false);
        return check.MakeReport();
    }

    private Qcow2CheckReport MakeReport() => new()
    {
        Leaks = _leaks - _leaksFixed,
        Corruptions = _corruptions - _corruptionsFixed,
        LeaksFixed = _leaksFixed,
        CorruptionsFixed = _corruptionsFixed,
        CheckErrors = _checkErrors,
        IncompleteSnapshots = _incomplete,
        TotalClusters = (_header.Length + ClusterSize - 1) / ClusterSize,
        AllocatedClusters = _allocated,
        FragmentedClusters = _fragmented,
        CompressedClusters = _compressed,
        ImageEndOffset = (_lastUsed + 1) * ClusterSize,
        Messages = _messages,
    };

    private async ValueTask CheckCountsAsync(CancellationToken cancellationToken)
    {
        _store = await RefcountStore.OpenAsync(
            _file, _header, CachedBlocks, static (_, _, _) => throw new InvalidOperationException(), cancellationToken)
            .ConfigureAwait(false);
        for (long start = 0; start < ClusterCount || _isFirstPass; start = _uses.End)
        {
            await CountPassAsync(start, withRefcounts: true, cancellationToken).ConfigureAwait(false);
            await CompareAsync(cancellationToken).ConfigureAwait(false);
            _isFirstPass = false;
            _passes++;
            if (_uses.End == long.MaxValue)
            {
                break;
            }
        }

        foreach (var cluster in _overlaps)
        {
            Corrupt($"cluster {cluster} is used as two different things, or as a table twice");
        }

        if (_leaksFixed + _corruptionsFixed > 0)
        {
            await _store.WriteBlocksAsync(cancellationToken).ConfigureAwait(false);
            await _file.FlushAsync(cancellationToken).ConfigureAwait(false);
            _store.MarkBlocksDurable();
        }
    }

    // Counts the uses of the clusters from one on, as many as fit.
    private async ValueTask CountPassAsync(long start, bool withRefcounts, CancellationToken cancellationToken)
    {
        _uses.Restart(start);
        await CountMetadataAsync(cancellationToken).ConfigureAwait(false);
        if (!withRefcounts)
        {
            return;
        }

        Use(_header.RefcountTableOffset, _header.RefcountTableClusters * ClusterSize, UseKind.Other, "refcount table");
        var index = 0;
        foreach (var entry in _store!.TableEntries)
        {
            if (entry != 0)
            {
                CountBlock(index, entry);
            }

            index++;
        }
    }

    private void CountBlock(int index, ulong entry)
    {
        if (entry % (ulong)ClusterSize != 0 || entry >= (ulong)_fileEnd)
        {
            if (_isFirstPass)
            {
                _countErrors++;
                Corrupt($"ERROR refcount block {index} at 0x{entry:x} is not cluster aligned or outside the image");
            }

            _mustRebuild = true;
            return;
        }

        Use((long)entry, ClusterSize, UseKind.Other, "refcount block");
    }

    // What neither a block counts nor anything uses agrees: only the rest of the pass is gone through.
    private async ValueTask CompareAsync(CancellationToken cancellationToken)
    {
        var end = Math.Min(_uses.End, ClusterCount);
        CheckBlocks(end);
        foreach (var (first, last) in Stretches(end))
        {
            for (var from = first; from < last;)
            {
                var to = Math.Min(last, ((from >> _store!.BlockBits) + 1) << _store.BlockBits);
                if (_store.IsBlockUsable(from >> _store.BlockBits))
                {
                    await CompareBlockAsync(from, to, cancellationToken).ConfigureAwait(false);
                }
                else
                {
                    CompareMissingBlock(from, to);
                }

                from = to;
            }
        }
    }

    // A refcount block is used as that, once.
    private void CheckBlocks(long end)
    {
        for (var index = 0; index < _store!.TableEntries.Count; index++)
        {
            var cluster = (long)_store.TableEntries[index] >> _header.ClusterBits;
            if (_store.IsBlockUsable(index) && cluster >= _uses.Start && cluster < end && _uses.Get(cluster) != 1)
            {
                Corrupt($"ERROR refcount block {index} refcount={_uses.Get(cluster)}");
                _countErrors++;
                _overlaps.Remove(cluster);
                _mustRebuild = true;
            }
        }
    }

    // Clusters near which something is used, and those that a block counts, in order and each once.
    private IEnumerable<(long First, long End)> Stretches(long end)
    {
        const long PageLength = 1 << UseCounts.PageBits;
        var used = _uses.PageStarts().Select(start => (First: start, End: start + PageLength));
        var counted = _store!.TableEntries.Select((entry, index) => (entry, index: (long)index))
            .Where(block => block.entry != 0)
            .Select(block => (First: block.index << _store.BlockBits, End: (block.index + 1) << _store.BlockBits));
        var done = _uses.Start;
        foreach (var (first, last) in used.Concat(counted).OrderBy(stretch => stretch.First))
        {
            if (Math.Min(last, end) > Math.Max(first, done))
            {
                yield return (Math.Max(first, done), Math.Min(last, end));
                done = Math.Min(last, end);
            }
        }
    }

    private async ValueTask CompareBlockAsync(long from, long to, CancellationToken cancellationToken)
    {
        var block = await _store!.ReadBlockAsync(from >> _store.BlockBits, cancellationToken).ConfigureAwait(false);
        for (var cluster = from; cluster < to; cluster++)
        {
            var count = _store.CountIn(block, cluster);
            var uses = _uses.Get(cluster);
            if ((count | uses) != 0)
            {
                _lastUsed = cluster;
                if (count != uses)
                {
                    NoteDifference(cluster, count, uses, block);
                }
            }
        }
    }

    private void CompareMissingBlock(long from, long to)
    {
        while (from < to)
        {
            if (!_uses.HasPage(from))
            {
                from = ((from >> UseCounts.PageBits) + 1) << UseCounts.PageBits;
                continue;
            }

            if (_uses.Get(from) is > 0 and var uses)
            {
                _lastUsed = from;
                _mustRebuild = true;
                NoteDifference(from, 0, uses, null);
            }

            from++;
        }
    }

    private void NoteDifference(long cluster, ulong count, ulong uses, CachedTable? block)
    {
        _overlaps.Remove(cluster);
        _countsDiffer = true;
        var isLeak = count > uses;
        Note($"{(isLeak ? "Leaked cluster" : "ERROR cluster")} {cluster} refcount={count} reference={uses}");
        _leaks += isLeak ? 1 : 0;
        _corruptions += isLeak ? 0 : 1;
        var repairs = RepairsAll || (isLeak && _options.Repair == Qcow2Repair.Leaks);
        if (repairs && block is not null && _store!.TrySetIn(block, cluster, uses))
        {
            _leaksFixed += isLeak ? 1 : 0;
            _corruptionsFixed += isLeak ? 0 : 1;
        }
        else
        {
            _countErrors += isLeak ? 0 : 1;
        }
    }

    // Counts one use of every cluster that a range touches; false when it is not in the file.
    private bool Use(long offset, long length, UseKind kind, string what)
    {
        if (length == 0)
        {
            return true;
        }

        if (offset < 0 || offset > _fileEnd || length > _fileEnd - offset)
        {
            _highestOutside = Math.Max(_highestOutside, (offset + length - 1) >> _header.ClusterBits);
            Report($"ERROR: counting reference for region exceeding the end of the file by one cluster or more: {what} "
                + $"offset 0x{offset:x} size 0x{length:x}");
            return false;
        }

        var last = (offset + length - 1) >> _header.ClusterBits;
        for (var cluster = offset >> _header.ClusterBits; cluster <= last; cluster++)
        {
            if (!_uses.Add(cluster, kind) && _overlaps.Count < Qcow2CheckReport.MaximumMessages)
            {
                _overlaps.Add(cluster);
            }
        }

        return true;
    }

    // What is wrong with a table is met in each pass, and told once.
    private void Report(string message)
    {
        if (_isFirstPass)
        {
            Corrupt(message);
        }
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
