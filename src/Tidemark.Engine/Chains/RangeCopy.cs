using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Engine.Chains;

/// <summary>Copies a short range from node to node, zeroes as zeroes. Used by one worker, with its buffer.</summary>
internal sealed class RangeCopy
{
    private readonly ExtentList _extents = [];
    private readonly byte[] _buffer;

    /// <summary>Creates it over a buffer, which is the caller's.</summary>
    internal RangeCopy(byte[] buffer) => _buffer = buffer;

    /// <summary>Copies a range. Inside a request of the graph, or in a drained section.</summary>
    internal async ValueTask CopyAsync(
        BlockNode source, BlockNode target, Extent range, WriteFlags flags, CancellationToken cancellationToken)
    {
        _extents.Clear();
        await source.GetBlockStatusAsync(range.Offset, range.Length, _extents, cancellationToken)
            .ConfigureAwait(false);
        var most = Math.Min(
            _buffer.Length, Math.Min(source.Limits.MaximumTransfer, target.Limits.MaximumTransfer));
        for (var index = 0; index < _extents.Count; index++)
        {
            var extent = _extents[index];
            if ((extent.Flags & ExtentFlags.Zero) != 0)
            {
                await target.WriteZeroesAsync(
                    extent.Offset, extent.Length, flags | WriteFlags.MayUnmap, cancellationToken)
                        .ConfigureAwait(false);
                continue;
            }

            for (var offset = extent.Offset; offset < extent.End; offset += most)
            {
                var part = _buffer.AsMemory(0, (int)Math.Min(most, extent.End - offset));
                await source.ReadAsync(offset, part, cancellationToken).ConfigureAwait(false);
                await target.WriteAsync(offset, part, flags, cancellationToken).ConfigureAwait(false);
            }
        }
    }
}
