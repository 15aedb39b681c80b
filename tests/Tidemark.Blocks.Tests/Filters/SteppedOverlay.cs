using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Blocks.Tests.Filters;

/// <summary>
/// An overlay as qcow2 is one: its table says, when a read comes in, which clusters are its own; all others are read
/// from the backing node, however long that takes. A cluster enters the table when its write takes effect.
/// </summary>
internal sealed class SteppedOverlay : BlockNode
{
    private const int ClusterSize = SteppedNode.ClusterSize;

    private readonly SteppedNode _file;
    private readonly BlockChild _backing;
    private readonly bool[] _allocated;

    public SteppedOverlay(string name, SteppedNode file, BlockNode backing)
        : base(name)
    {
        _file = file;
        _backing = new BlockChild(this, ChildRole.Backing, backing, $"node '{name}'");
        _allocated = new bool[(file.Length + ClusterSize - 1) / ClusterSize];
    }

    public override string Driver => "stepped-overlay";

    public override long Length => _file.Length;

    public override BlockLimits Limits { get; } = new() { PreferredSize = ClusterSize, ClusterSize = ClusterSize };

    public override IReadOnlyList<BlockChild> Children => [_backing];

    public override ValueTask DisposeAsync()
    {
        _backing.Dispose();
        return default;
    }

    protected override async ValueTask ReadCoreAsync(
        long offset, Memory<byte> target, CancellationToken cancellationToken)
    {
        // Decided for the whole range at once, acted on later: the widest window for a race.
        List<(BlockNode Node, int From, int Length)> parts = [];
        for (var at = 0; at < target.Length;)
        {
            var node = NodeOf(offset + at);
            var length = (int)Math.Min(target.Length - at, ClusterSize - ((offset + at) % ClusterSize));
            parts.Add((node, at, length));
            at += length;
        }

        foreach (var (node, from, length) in parts)
        {
            await node.ReadAsync(offset + from, target.Slice(from, length), cancellationToken);
        }
    }

    protected override async ValueTask WriteCoreAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken)
    {
        await _file.WriteAsync(offset, source, flags, cancellationToken);
        Allocate(offset, source.Length);
    }

    protected override async ValueTask WriteZeroesCoreAsync(
        long offset, long length, WriteFlags flags, CancellationToken cancellationToken)
    {
        await _file.WriteZeroesAsync(offset, length, flags, cancellationToken);
        Allocate(offset, length);
    }

    protected override async ValueTask GetBlockStatusCoreAsync(
        long offset, long length, ExtentList extents, CancellationToken cancellationToken)
    {
        for (var end = offset + length; offset < end;)
        {
            var part = Math.Min(end, (offset / ClusterSize * ClusterSize) + ClusterSize) - offset;
            await NodeOf(offset).GetBlockStatusAsync(offset, part, extents, cancellationToken);
            offset += part;
        }
    }

    private BlockNode NodeOf(long offset) => _allocated[offset / ClusterSize] ? _file : _backing.Node;

    private void Allocate(long offset, long length)
    {
        if (offset % ClusterSize != 0 || ((offset + length) % ClusterSize != 0 && offset + length != Length))
        {
            throw new InvalidOperationException($"{offset}+{length} is not made of whole clusters");
        }

        for (var at = offset; at < offset + length; at += ClusterSize)
        {
            _allocated[at / ClusterSize] = true;
        }
    }
}
