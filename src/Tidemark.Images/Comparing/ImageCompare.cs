// Two disks are gone over side by side: what both say is zero is skipped; the rest is cut into parts that workers read
// from both and compare. Parts are made in the order of the disk, and the smallest offset that any worker finds is the
// answer: a worker skips what lies behind it, and everything before it has been handed out, and is finished before the
// answer is given.

using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;
using Tidemark.Images.Parts;
using Tidemark.Images.Mapping;
using Tidemark.Images.Opening;

namespace Tidemark.Images.Comparing;

/// <summary>Compares two disks; where one is longer, the rest must be zero.</summary>
public sealed class ImageCompare
{
    private const int PartLength = 1 << 20;
    private const int SectorSize = 512;
    private const long Window = 1L << 30;

    private readonly BlockNode _first;
    private readonly BlockNode _second;
    private readonly DiskProgress _progress;
    private long _mismatch = long.MaxValue;

    private ImageCompare(BlockNode first, BlockNode second, DiskProgress progress)
    {
        _first = first;
        _second = second;
        _progress = progress;
    }

    /// <summary>Compares.</summary>
    /// <param name="first">One image.</param>
    /// <param name="second">The other.</param>
    /// <param name="strict">Whether sizes and allocation must be the same too.</param>
    /// <param name="report">Told how far it is, 0 to 1.</param>
    /// <param name="cancellationToken">Stops it.</param>
    /// <exception cref="BlockException">One of them cannot be read.</exception>
    public static async Task<CompareOutcome> RunAsync(
        OpenImage first, OpenImage second, bool strict, Action<double>? report = null,
        CancellationToken cancellationToken = default)
    {
        if (strict)
        {
            if (first.Top.Length != second.Top.Length)
            {
                return new CompareOutcome(CompareDifference.Length, 0);
            }

            // The content before the first difference of allocation counts before it.
            var allocation = await FirstAllocationDifferenceAsync(first, second, cancellationToken)
                .ConfigureAwait(false);
            var content = await CompareContentAsync(first, second, report, cancellationToken).ConfigureAwait(false);
            return content < allocation ? new CompareOutcome(CompareDifference.Content, content)
                : allocation < long.MaxValue ? new CompareOutcome(CompareDifference.Allocation, allocation)
                : new CompareOutcome(CompareDifference.None, 0);
        }

        var mismatch = await CompareContentAsync(first, second, report, cancellationToken).ConfigureAwait(false);
        return mismatch < long.MaxValue ? new CompareOutcome(CompareDifference.Content, mismatch)
            : first.Top.Length != second.Top.Length ? new CompareOutcome(CompareDifference.OnlyLength, 0)
            : new CompareOutcome(CompareDifference.None, 0);
    }

    private static async Task<long> CompareContentAsync(
        OpenImage first, OpenImage second, Action<double>? report, CancellationToken cancellationToken)
    {
        ImageCompare compare = new(first.Top, second.Top, new DiskProgress(report));
        await PartPipeline.RunAsync(
            Math.Max(2, Environment.ProcessorCount), 2 * PartLength, compare.ProduceAsync, compare.CompareAsync,
            cancellationToken).ConfigureAwait(false);
        return compare._mismatch;
    }

    private static async ValueTask<long> FirstAllocationDifferenceAsync(
        OpenImage first, OpenImage second, CancellationToken cancellationToken)
    {
        ImageMap left = new(first), right = new(second);
        List<MapEntry> leftEntries = [], rightEntries = [];
        var window = Math.Min(left.WindowLength, right.WindowLength);
        for (long offset = 0; offset < first.Top.Length; offset += window)
        {
            leftEntries.Clear();
            rightEntries.Clear();
            var length = Math.Min(window, first.Top.Length - offset);
            await left.AppendAsync(offset, length, leftEntries, cancellationToken).ConfigureAwait(false);
            await right.AppendAsync(offset, length, rightEntries, cancellationToken).ConfigureAwait(false);
            int leftIndex = 0, rightIndex = 0;
            while (leftIndex < leftEntries.Count && rightIndex < rightEntries.Count)
            {
                var (one, other) = (leftEntries[leftIndex], rightEntries[rightIndex]);
                if (!one.HasSameAllocation(other))
                {
                    return Math.Max(one.Start, other.Start);
                }

                leftIndex += one.End <= other.End ? 1 : 0;
                rightIndex += other.End <= one.End ? 1 : 0;
            }
        }

        return long.MaxValue;
    }

    private async Task ProduceAsync(Func<DiskPart, ValueTask> add, CancellationToken cancellationToken)
    {
        var total = Math.Max(_first.Length, _second.Length);
        _progress.Begin(total);
        ExtentList first = new(), second = new();
        for (long start = 0; start < total && start < Volatile.Read(ref _mismatch); start += Window)
        {
            var end = Math.Min(total, start + Window);
            await StatusAsync(_first, start, end, first, cancellationToken).ConfigureAwait(false);
            await StatusAsync(_second, start, end, second, cancellationToken).ConfigureAwait(false);
            int firstIndex = 0, secondIndex = 0;
            for (var offset = start; offset < end;)
            {
                var (one, other) = (first[firstIndex], second[secondIndex]);
                var common = Math.Min(one.End, other.End);
                if (one.IsZero && other.IsZero)
                {
                    _progress.Add(common - offset);
                }
                else
                {
                    for (var at = offset; at < common; at += PartLength)
                    {
                        await add(new DiskPart(at, (int)Math.Min(PartLength, common - at), 0)).ConfigureAwait(false);
                    }
                }

                firstIndex += one.End == common ? 1 : 0;
                secondIndex += other.End == common ? 1 : 0;
                offset = common;
            }
        }
    }

    // What lies behind a disk's end is zero.
    private static async ValueTask StatusAsync(
        BlockNode node, long start, long end, ExtentList extents, CancellationToken cancellationToken)
    {
        extents.Clear();
        var inside = Math.Clamp(node.Length - start, 0, end - start);
        await node.GetBlockStatusAsync(Math.Min(start, node.Length), inside, extents, cancellationToken)
            .ConfigureAwait(false);
        if (inside < end - start)
        {
            extents.Append(start + inside, end - start - inside, ExtentFlags.Hole | ExtentFlags.Zero);
        }
    }

    private async ValueTask CompareAsync(DiskPart part, Memory<byte> memory, CancellationToken cancellationToken)
    {
        if (part.Offset >= Volatile.Read(ref _mismatch))
        {
            return;
        }

        var first = memory[..part.Length];
        var second = memory.Slice(PartLength, part.Length);
        await ReadAsync(_first, part.Offset, first, cancellationToken).ConfigureAwait(false);
        await ReadAsync(_second, part.Offset, second, cancellationToken).ConfigureAwait(false);
        var same = first.Span.CommonPrefixLength(second.Span);
        if (same < part.Length)
        {
            LowerMismatch((part.Offset + same) / SectorSize * SectorSize);
        }

        _progress.Add(part.Length);
    }

    private static ValueTask ReadAsync(
        BlockNode node, long offset, Memory<byte> target, CancellationToken cancellationToken)
    {
        var inside = (int)Math.Clamp(node.Length - offset, 0, target.Length);
        target.Span[inside..].Clear();
        return inside == 0 ? default : node.ReadAsync(offset, target[..inside], cancellationToken);
    }

    private void LowerMismatch(long offset)
    {
        var known = Volatile.Read(ref _mismatch);
        while (offset < known)
        {
            var before = Interlocked.CompareExchange(ref _mismatch, offset, known);
            if (before == known)
            {
                return;
            }

            known = before;
        }
    }
}
