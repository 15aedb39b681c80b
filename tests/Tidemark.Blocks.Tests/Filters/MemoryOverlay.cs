using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Blocks.Tests.Filters;

/// <summary>
/// An overlay in memory: clusters that were written are its own, all others are read from the backing node.
/// </summary>
internal sealed class MemoryOverlay : BlockNode
{
    private const int ClusterSize = 4096;

    private readonly Lock _gate = new();
    private readonly BlockChild _backing;
    private readonly byte[] _content;
    private readonly bool[] _allocated;

    public MemoryOverlay(string name, BlockNode backing)
        : base(name)
    {
        _backing = new BlockChild(this, ChildRole.Backing, backing, $"node '{name}'");
        _content = new byte[backing.Length];
        _allocated = new bool[(_content.Length + ClusterSize - 1) / ClusterSize];
    }

    public override string Driver => "memory-overlay";

    public override long Length => _content.Length;

    public override IReadOnlyList<BlockChild> Children => [_backing];

    public override ValueTask DisposeAsync()
    {
        _backing.Dispose();
        return default;
    }

    protected override async ValueTask ReadCoreAsync(
        long offset, Memory<byte> target, CancellationToken cancellationToken)
    {
        while (!target.IsEmpty)
        {
            var length = (int)Math.Min(target.Length, ClusterSize - (offset % ClusterSize));
            bool mine;
            lock (_gate)
            {
                mine = _allocated[offset / ClusterSize];
            }

            await Task.Yield();
            if (mine)
            {
                _content.AsMemory((int)offset, length).CopyTo(target);
            }
            else
            {
                await _backing.Node.ReadAsync(offset, target[..length], cancellationToken);
            }

            target = target[length..];
            offset += length;
        }
    }

    protected override ValueTask WriteCoreAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken)
    {
        source.CopyTo(_content.AsMemory((int)offset));
        Allocate(offset, source.Length);
        return default;
    }

    protected override ValueTask WriteZeroesCoreAsync(
        long offset, long length, WriteFlags flags, CancellationToken cancellationToken)
    {
        _content.AsSpan((int)offset, (int)length).Clear();
        Allocate(offset, length);
        return default;
    }

    protected override ValueTask GetBlockStatusCoreAsync(
        long offset, long length, ExtentList extents, CancellationToken cancellationToken)
    {
        extents.Append(offset, length, ExtentFlags.None);
        return default;
    }

    private void Allocate(long offset, long length)
    {
        lock (_gate)
        {
            for (var at = offset / ClusterSize; at * ClusterSize < offset + length; at++)
            {
                _allocated[at] = true;
            }
        }
    }
}
