using Tidemark.Blocks.Filters;
using Tidemark.Blocks.Nodes;
using Tidemark.Testing;

namespace Tidemark.Blocks.Tests.Filters;

/// <summary>The frozen view is read like any disk, also when half of the live disk was overwritten since.</summary>
public sealed class SnapshotAccessContract : NodeContract
{
    protected override async ValueTask<BlockNode> CreateAsync(byte[] content)
    {
        var disk = new MemoryNode("disk", content);
        var filter = new CopyBeforeWriteFilter("filter", disk, new MemoryNode("scratch", new byte[content.Length]));
        for (var offset = 0; offset + 131072 <= content.Length; offset += 131072)
        {
            var data = new byte[50_000];
            data.AsSpan().Fill(0xee);
            await filter.WriteAsync(offset, data, cancellationToken: Token);
        }

        return new SnapshotAccessNode("view", filter) { TakesDiscards = false };
    }

    protected override bool CanWrite => false;

    protected override async ValueTask ReleaseAsync(BlockNode node)
    {
        await node.DisposeAsync();
        await ((SnapshotAccessNode)node).Filter.DisposeAsync();
    }
}
