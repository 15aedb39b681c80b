using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Blocks.Filters;

// The readers' side.
public sealed partial class CopyBeforeWriteFilter
{
    /// <summary>
    /// The longest piece that one registered read covers: a guest's write waits for no more than this.
    /// </summary>
    internal const long MaximumFrozenRead = 1 << 20;

    /// <summary>
    /// The longest piece whose block status is asked for at one time; a guest's write may have to wait for it.
    /// </summary>
    internal const long MaximumFrozenStatus = 64 << 20;

    /// <summary>Reads the disk as it was at the point in time.</summary>
    internal async ValueTask ReadSnapshotAsync(long offset, Memory<byte> target, CancellationToken cancellationToken)
    {
        while (!target.IsEmpty)
        {
            var length = (int)Math.Min(target.Length, MaximumFrozenRead);
            RequireReadable(offset, length);
            using (var hold = _frozenReads.Register(offset, length))
            {
                length = (int)Copy.DoneRun(offset, length, out var isSaved);
                if (isSaved)
                {
                    hold.Dispose();
                }

                await (isSaved ? Target.Node : File.Node).ReadAsync(offset, target[..length], cancellationToken)
                    .ConfigureAwait(false);
            }

            RequireReadable(offset, length);
            target = target[length..];
            offset += length;
        }
    }

    /// <summary>The block status of the disk as it was at the point in time.</summary>
    internal async ValueTask GetSnapshotStatusAsync(
        long offset, long length, ExtentList extents, CancellationToken cancellationToken)
    {
        var piece = new ExtentList();
        var end = offset + length;
        while (offset < end)
        {
            length = Math.Min(end - offset, MaximumFrozenStatus);
            RequireReadable(offset, length);
            piece.Clear();
            using (var hold = _frozenReads.Register(offset, length))
            {
                length = Copy.DoneRun(offset, length, out var isSaved);
                if (isSaved)
                {
                    hold.Dispose();
                }

                await (isSaved ? Target.Node : File.Node).GetBlockStatusAsync(offset, length, piece, cancellationToken)
                    .ConfigureAwait(false);
            }

            RequireReadable(offset, length);
            foreach (var extent in piece)
            {
                extents.Append(extent);
            }

            offset += length;
        }
    }

    /// <summary>
    /// The reader wants no more of a range: its whole clusters are not saved any more, and what was saved of them is
    /// freed. Parts of clusters at the ends are kept.
    /// </summary>
    internal async ValueTask DiscardSnapshotAsync(long offset, long length, CancellationToken cancellationToken)
    {
        var unit = Math.Max(Copy.ClusterSize, _access.Granularity);
        var from = (offset + unit - 1) & ~(unit - 1);
        var to = offset + length == Copy.Length ? Copy.Length : (offset + length) & ~(unit - 1);
        if (to <= from)
        {
            return;
        }

        _access.Reset(from, to - from);
        await Copy.ForgetAsync(from, to - from, cancellationToken).ConfigureAwait(false);
        await Target.Node.DiscardAsync(from, to - from, cancellationToken).ConfigureAwait(false);
    }

    private void RequireReadable(long offset, long length)
    {
        if (Copy.Failure is { } failure)
        {
            throw new BlockException(BlockErrorKind.SnapshotBroken, failure.Message, failure);
        }

        if (!_access.IsAllDirty(offset, length))
        {
            throw new BlockException(
                BlockErrorKind.Invalid,
                $"{length} bytes at {offset} are not all in the snapshot "
                + $"that filter '{Name}' keeps of node '{File.Node.Name}'");
        }
    }
}
