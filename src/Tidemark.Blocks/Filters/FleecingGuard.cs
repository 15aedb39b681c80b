// The scratch overlay: the target of a copy-before-write filter is an overlay whose backing chain holds the disk below
// the filter. Whoever reads the overlay gets saved clusters from the overlay itself and all others from the live disk,
// as the overlay's own table says. So the table must not change between the moment when a read consults it and the
// moment when that read has its bytes, and what the live disk has must not change either. QEMU's answer are serialising
// writes (BDRV_REQ_SERIALISING in block/copy-before-write.c, is_fleecing); this is ours:
//
//   a reader of the overlay holds its range shared, for the whole of its read;
//   the copy-out holds its range exclusively while it writes to the overlay, and the guest's write comes after that.
//
// A read that began before the copy-out has ended when the guest's write begins. One that began after it finds the
// cluster in the overlay. The same is true of block status, which the overlay answers from the disk too.
//
// When the snapshot is broken or has ended, unsaved clusters of the overlay show the live disk: not the point in time.
// Reading them fails from then on. It is asked before the read and after it, because the copy may be stopped, and the
// disk be written, in between; while a reader holds a range, no cluster in it becomes saved, so the two answers are
// about the same clusters.

using Tidemark.Blocks.Copy;
using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Blocks.Filters;

/// <summary>Makes what is read through a scratch overlay the disk at the filter's point in time, or an error.</summary>
internal sealed class FleecingGuard
{
    private readonly BlockCopy _copy;
    private readonly BlockNode _target;
    private readonly RangeLock _ranges;

    /// <summary>Begins to guard a target.</summary>
    /// <exception cref="BlockException">It was guarded before: its saved clusters are another point in
    /// time's.</exception>
    internal FleecingGuard(BlockCopy copy, BlockNode target, bool inlineContinuations)
    {
        if (target.FleecingGuard is not null)
        {
            throw new BlockException(
                BlockErrorKind.Busy,
                $"node '{target.Name}' holds, or held, another point in time of the disk: use a fresh overlay");
        }

        _copy = copy;
        _target = target;
        _ranges = new RangeLock(inlineContinuations);
        target.FleecingGuard = this;
    }

    internal async ValueTask ReadAsync(
        BlockNode node, long offset, Memory<byte> target, CancellationToken cancellationToken)
    {
        while (!target.IsEmpty)
        {
            var length = (int)Math.Min(target.Length, CopyBeforeWriteFilter.MaximumFrozenRead);
            using (await _ranges.EnterSharedAsync(offset, length, cancellationToken).ConfigureAwait(false))
            {
                RequireFrozen(offset, length);
                await node.ReadUnguardedAsync(offset, target[..length], cancellationToken).ConfigureAwait(false);
                RequireFrozen(offset, length);
            }

            target = target[length..];
            offset += length;
        }
    }

    internal async ValueTask GetBlockStatusAsync(
        BlockNode node, long offset, long length, ExtentList extents, CancellationToken cancellationToken)
    {
        for (var end = offset + length; offset < end; offset += length)
        {
            length = Math.Min(end - offset, CopyBeforeWriteFilter.MaximumFrozenStatus);
            using (await _ranges.EnterSharedAsync(offset, length, cancellationToken).ConfigureAwait(false))
            {
                RequireFrozen(offset, length);
                await node.GetBlockStatusUnguardedAsync(offset, length, extents, cancellationToken)
                    .ConfigureAwait(false);
                RequireFrozen(offset, length);
            }
        }
    }

    /// <summary>Keeps readers out of a range of the target while it is being written.</summary>
    internal async ValueTask<RangeLock.Entry?> HoldForWriteAsync(
        long offset, long length, CancellationToken cancellationToken) =>
        await _ranges.EnterExclusiveAsync(offset, length, cancellationToken).ConfigureAwait(false);

    /// <summary>Lets all who wait go on, to find that the copy was stopped.</summary>
    internal void Break() => _ranges.Break();

    /// <summary>Ends the guarding as if it had never been: for a transaction that is aborted.</summary>
    internal void Remove() => _target.FleecingGuard = null;

    private void RequireFrozen(long offset, long length)
    {
        if (_copy.Failure is { } failure && !_copy.IsDone(offset, length))
        {
            throw new BlockException(BlockErrorKind.SnapshotBroken, failure.Message, failure);
        }
    }
}
