using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Images.Converting;

/// <summary>Several disks, one behind the other, as one; for reading. The disks stay their owners'.</summary>
internal sealed class ConcatenatedNode : BlockNode
{
    private readonly (BlockNode Node, long Start)[] _parts;

    internal ConcatenatedNode(string name, IReadOnlyList<BlockNode> nodes)
        : base(name)
    {
        _parts = new (BlockNode, long)[nodes.Count];
        for (var index = 0; index < nodes.Count; index++)
        {
            _parts[index] = (nodes[index], Length);
            Length += nodes[index].Length;
        }
    }

    /// <inheritdoc/>
    public override string Driver => "concatenated";

    /// <inheritdoc/>
    public override long Length { get; }

    /// <inheritdoc/>
    public override bool IsReadOnly => true;

    /// <inheritdoc/>
    public override ValueTask DisposeAsync() => default;

    /// <inheritdoc/>
    protected override async ValueTask ReadCoreAsync(
        long offset, Memory<byte> target, CancellationToken cancellationToken)
    {
        foreach (var (node, start) in _parts)
        {
            var from = Math.Max(offset, start);
            var length = (int)Math.Max(0, Math.Min(offset + target.Length, start + node.Length) - from);
            if (length > 0)
            {
                await node.ReadAsync(from - start, target.Slice((int)(from - offset), length), cancellationToken)
                    .ConfigureAwait(false);
            }
        }
    }

    /// <inheritdoc/>
    protected override async ValueTask GetBlockStatusCoreAsync(
        long offset, long length, ExtentList extents, CancellationToken cancellationToken)
    {
        ExtentList own = new();
        foreach (var (node, start) in _parts)
        {
            var from = Math.Max(offset, start);
            var count = Math.Min(offset + length, start + node.Length) - from;
            if (count <= 0)
            {
                continue;
            }

            own.Clear();
            await node.GetBlockStatusAsync(from - start, count, own, cancellationToken).ConfigureAwait(false);
            foreach (var extent in own)
            {
                extents.Append(extent.Offset + start, extent.Length, extent.Flags);
            }
        }
    }
}
