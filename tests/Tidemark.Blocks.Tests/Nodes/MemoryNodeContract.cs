using Tidemark.Blocks.Nodes;
using Tidemark.Testing;

namespace Tidemark.Blocks.Tests.Nodes;

public sealed class MemoryNodeContract : NodeContract
{
    protected override ValueTask<BlockNode> CreateAsync(byte[] content) => new(new MemoryNode("disk", content));
}
