using System.Buffers.Binary;
using Tidemark.Qcow2.Format;
using Tidemark.Qcow2.Metadata;

namespace Tidemark.Qcow2.Checking;

// The copied flags, and refcounts written anew.
public sealed partial class Qcow2Check
{
    // A copied flag where the count is not one lets a write change what a snapshot holds; a missing one costs a copy.
    private async ValueTask CheckCopiedFlagsAsync(CancellationToken cancellationToken)
    {
        var l1 = new byte[ReadLength];
        _l2 ??= new byte[ClusterSize];
        for (var start = 0; start < _header.L1EntryCount; start += ReadLength / 8)
        {
            var count = Math.Min(ReadLength / 8, _header.L1EntryCount - start);
            var offset = _header.L1Offset + (start * 8L);
            if (offset >= _fileEnd)
            {
                // Told already; what is not in the file names nothing.
                return;
            }

            await _file.ReadAsync(offset, l1.AsMemory(0, count * 8), cancellationToken).ConfigureAwait(false);
            var changed = false;
            for (var index = 0; index < count; index++)
            {
                changed |= await CheckCopiedInL1Async(l1, index, cancellationToken).ConfigureAwait(false);
            }

            if (changed)
            {
                await _file.FlushAsync(cancellationToken).ConfigureAwait(false);
                await _file.WriteAsync(offset, l1.AsMemory(0, count * 8), cancellationToken).ConfigureAwait(false);
            }
        }
    }

    private async ValueTask<bool> CheckCopiedInL1Async(byte[] l1, int index, CancellationToken cancellationToken)
    {
        var word = BinaryPrimitives.ReadUInt64BigEndian(l1.AsSpan(index * 8));
        var offset = L2Entry.HostOffset(word);
        if (offset == 0 || offset % ClusterSize != 0 || offset >= _fileEnd)
        {
            return false;
        }

        var changed = false;
        var count = await CountOfAsync(offset, cancellationToken).ConfigureAwait(false);
        if ((count == 1) != ((word & L2Entry.Copied) != 0))
        {
            Corrupt($"ERROR OFLAG_COPIED L2 cluster: l1_entry={word:x} refcount={count}");
            if (RepairsAll)
            {
                BinaryPrimitives.WriteUInt64BigEndian(l1.AsSpan(index * 8), word ^ L2Entry.Copied);
                _corruptionsFixed++;
                changed = true;
            }
        }

        await _file.ReadAsync(offset, _l2!, cancellationToken).ConfigureAwait(false);
        if (await CheckCopiedInL2Async(_l2!, cancellationToken).ConfigureAwait(false))
        {
            await _file.WriteAsync(offset, _l2!, cancellationToken).ConfigureAwait(false);
        }

        return changed;
    }

    private async ValueTask<bool> CheckCopiedInL2Async(byte[] table, CancellationToken cancellationToken)
    {
        var changed = false;
        for (var index = 0; index < _layout.TableEntries; index++)
        {
            var entry = _layout.Read(table, index);
            if (!_layout.HasHost(entry) || entry.HostOffset % ClusterSize != 0)
            {
                continue;
            }

            var count = _layout.HasDataFile ? 1
                : await CountOfAsync(entry.HostOffset, cancellationToken).ConfigureAwait(false);
            if ((count == 1) != entry.IsCopied)
            {
                Corrupt($"ERROR OFLAG_COPIED data cluster: l2_entry={entry.Word:x} refcount={count}");
                if (RepairsAll)
                {
                    _layout.Write(table, index, entry with { Word = entry.Word ^ L2Entry.Copied });
                    _corruptionsFixed++;
                    changed = true;
                }
            }
        }

        return changed;
    }

    // The refcount as it now stands. Where all counts agreed with the uses, and all uses are known, those say it.
    private ValueTask<ulong> CountOfAsync(long offset, CancellationToken cancellationToken)
    {
        var cluster = offset >> _header.ClusterBits;
        return !_countsDiffer && _passes == 1
            ? ValueTask.FromResult(_uses.Get(cluster))
            : ReadCountAsync(cluster, cancellationToken);
    }

    private async ValueTask<ulong> ReadCountAsync(long cluster, CancellationToken cancellationToken)
    {
        var blockIndex = cluster >> _store!.BlockBits;
        return _store.IsBlockUsable(blockIndex)
            ? _store.CountIn(await _store.ReadBlockAsync(blockIndex, cancellationToken).ConfigureAwait(false), cluster)
            : 0;
    }

    // New blocks and a new table behind the end of the file:
    //   1. blocks and table written, flushed   2. the header names the new table, flushed
    // The old ones are no longer used by anything, so nothing counts them. A crash before 2 leaves the image as it was.
    private async ValueTask RebuildAsync(CancellationToken cancellationToken)
    {
        var blockBits = _store!.BlockBits;
        var plan = await PlanRebuildAsync(blockBits, cancellationToken).ConfigureAwait(false);
        if (plan is null || !await WriteRebuiltBlocksAsync(plan, blockBits, cancellationToken).ConfigureAwait(false))
        {
            _checkErrors++;
            Note($"the refcounts cannot be rebuilt: some do not fit in {_header.RefcountBits} bits, or in a table of "
                + $"{Qcow2Limits.MaximumRefcountTableBytes} bytes, or in the memory limit of {_options.MemoryLimit}");
            return;
        }

        await _file.WriteAsync(plan.TableOffset, plan.Table, cancellationToken).ConfigureAwait(false);
        await _file.FlushAsync(cancellationToken).ConfigureAwait(false);
        var header = await Qcow2Image.ReadHeaderAsync(_file.Node, cancellationToken).ConfigureAwait(false);
        header = header with { RefcountTableOffset = plan.TableOffset, RefcountTableClusters = plan.TableClusters };
        await WriteHeaderAsync(header, cancellationToken).ConfigureAwait(false);
        _store = await RefcountStore.OpenAsync(
            _file, header, CachedBlocks, static (_, _, _) => throw new InvalidOperationException(), cancellationToken)
            .ConfigureAwait(false);
        _corruptionsFixed += _countErrors;
        _leaksFixed = _leaks;
        _lastUsed = plan.End - 1;
    }

    // Which blocks are needed, those that count the new blocks and the new table among them.
    private async ValueTask<RebuildPlan?> PlanRebuildAsync(int blockBits, CancellationToken cancellationToken)
    {
        var end = ClusterCount;
        SortedSet<long> blocks = [];
        for (long start = 0; ; start = _uses.End)
        {
            await CountPassAsync(start, withRefcounts: false, cancellationToken).ConfigureAwait(false);
            blocks.UnionWith(_uses.PageStarts().SelectMany(page => BlocksOf(page, blockBits)));
            if (_uses.End >= end)
            {
                break;
            }
        }

        // What wrongly refers to a place past the end of the file must not meet the new tables there.
        var near = Qcow2Limits.MaximumRepairGap >> _header.ClusterBits;
        var first = _highestOutside >= end && _highestOutside < end + near ? _highestOutside + 1 : end;
        while (true)
        {
            var tableClusters = ((blocks.Max + 1) * 8 + ClusterSize - 1) / ClusterSize;
            if (tableClusters * ClusterSize > Qcow2Limits.MaximumRefcountTableBytes)
            {
                return null;
            }

            var before = blocks.Count;
            for (var block = first >> blockBits; block <= (first + before + tableClusters - 1) >> blockBits; block++)
            {
                blocks.Add(block);
            }

            if (blocks.Count == before)
            {
                return new RebuildPlan([.. blocks], first, (int)tableClusters, _header.ClusterBits);
            }
        }
    }

    private static IEnumerable<long> BlocksOf(long page, int blockBits)
    {
        for (var block = page >> blockBits; block <= (page + (1 << UseCounts.PageBits) - 1) >> blockBits; block++)
        {
            yield return block;
        }
    }

    private async ValueTask<bool> WriteRebuiltBlocksAsync(
        RebuildPlan plan, int blockBits, CancellationToken cancellationToken)
    {
        var end = ClusterCount;
        var codec = new RefcountCodec(_header.RefcountOrder);
        var bytes = new byte[ClusterSize];
        var done = 0;
        while (done < plan.Blocks.Length)
        {
            var start = plan.Blocks[done] << blockBits;
            await CountPassAsync(start, withRefcounts: false, cancellationToken).ConfigureAwait(false);
            var before = done;
            for (; done < plan.Blocks.Length && (plan.Blocks[done] + 1) << blockBits <= _uses.End; done++)
            {
                Array.Clear(bytes);
                var from = plan.Blocks[done] << blockBits;
                for (var index = 0; index < 1 << blockBits; index++)
                {
                    var cluster = from + index;
                    var uses = cluster >= plan.First && cluster < plan.End ? 1 : cluster < end ? _uses.Get(cluster) : 0;
                    if (uses > codec.Maximum)
                    {
                        return false;
                    }

                    codec.Set(bytes, index, uses);
                }

                await _file.WriteAsync(plan.OffsetOf(done), bytes, cancellationToken).ConfigureAwait(false);
                BinaryPrimitives.WriteInt64BigEndian(
                    plan.Table.AsSpan((int)plan.Blocks[done] * 8), plan.OffsetOf(done));
            }

            if (done == before)
            {
                return false;
            }
        }

        return true;
    }

    // An image that nothing is wrong with any more says so.
    private async ValueTask FinishRepairAsync(CancellationToken cancellationToken)
    {
        if (_options.Repair == Qcow2Repair.None)
        {
            return;
        }

        await _file.FlushAsync(cancellationToken).ConfigureAwait(false);
        const ulong Marks = FeatureBits.Dirty | FeatureBits.Corrupt;
        var header = await Qcow2Image.ReadHeaderAsync(_file.Node, cancellationToken).ConfigureAwait(false);
        if (_corruptions - _incomplete == _corruptionsFixed && _checkErrors == 0
            && (header.IncompatibleFeatures & Marks) != 0)
        {
            header = header with { IncompatibleFeatures = header.IncompatibleFeatures & ~Marks };
            await WriteHeaderAsync(header, cancellationToken).ConfigureAwait(false);
        }
    }

    private async ValueTask WriteHeaderAsync(Qcow2Header header, CancellationToken cancellationToken)
    {
        await _file.WriteAsync(0, Qcow2HeaderWriter.Write(header, out _), cancellationToken).ConfigureAwait(false);
        await _file.FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>New refcount blocks, then their table, in clusters one after the other.</summary>
    private sealed record RebuildPlan(long[] Blocks, long First, int TableClusters, int ClusterBits)
    {
        internal byte[] Table { get; } = new byte[(long)TableClusters << ClusterBits];

        internal long TableOffset => (First + Blocks.Length) << ClusterBits;

        internal long End => First + Blocks.Length + TableClusters;

        internal long OffsetOf(int block) => (First + block) << ClusterBits;
    }
}
