using Tidemark.Blocks.Filters;
using Tidemark.Blocks.Nodes;
using Tidemark.Testing;

namespace Tidemark.Blocks.Tests.Filters;

/// <summary>
/// To the guest the filter is a disk like any other, and the snapshot keeps the first bytes all the while.
/// </summary>
public sealed class CopyBeforeWriteContract : NodeContract
{
    private byte[] _frozen = [];

    protected override ValueTask<BlockNode> CreateAsync(byte[] content)
    {
        _frozen = [.. content];
        return new ValueTask<BlockNode>(new CopyBeforeWriteFilter(
            "filter", new MemoryNode("disk", content), new MemoryNode("scratch", new byte[content.Length])));
    }

    protected override async ValueTask ReleaseAsync(BlockNode node)
    {
        var filter = (CopyBeforeWriteFilter)node;
        var view = new SnapshotAccessNode("view", filter);
        Assert.Equal(_frozen, await ReadAsync(view, 0, _frozen.Length));
        await view.DisposeAsync();
        await filter.DisposeAsync();
    }
}
