using Tidemark.Blocks.Nodes;
using Tidemark.Testing;

namespace Tidemark.Blocks.Tests.Nodes;

/// <summary>The format <c>raw</c> over a part of a file.</summary>
public sealed class RawNodeContract : NodeContract
{
    private const int Before = 4096;
    private const int After = 777;

    protected override ValueTask<BlockNode> CreateAsync(byte[] content)
    {
        var file = new MemoryNode("file", [.. new byte[Before], .. content, .. new byte[After]]);
        return new ValueTask<BlockNode>(
            new RawNode("disk", file, Before, content.Length));
    }

    protected override async ValueTask ReleaseAsync(BlockNode node)
    {
        // Nothing outside the part was ever touched.
        var file = (MemoryNode)((RawNode)node).File.Node;
        Assert.False(file.Content.AsSpan(0, Before).ContainsAnyExcept((byte)0));
        Assert.False(file.Content.AsSpan(file.Content.Length - After).ContainsAnyExcept((byte)0));
        await base.ReleaseAsync(node);
        await file.DisposeAsync();
    }
}
