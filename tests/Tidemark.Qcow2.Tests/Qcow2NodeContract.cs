using Tidemark.Blocks.Nodes;
using Tidemark.Testing;

namespace Tidemark.Qcow2.Tests;

/// <summary>A qcow2 image is a node like any other.</summary>
public class Qcow2NodeContract : NodeContract
{
    protected virtual int ClusterSize => 65536;

    protected override async ValueTask<BlockNode> CreateAsync(byte[] content)
    {
        var file = new GrowingNode("file");
        await Qcow2Image.CreateAsync(
            file, new Qcow2CreateOptions { Length = content.Length, ClusterSize = ClusterSize }, Token);
        var node = await Qcow2Node.OpenAsync("disk", file, new Qcow2OpenOptions(), Token);
        await node.WriteAsync(0, content, cancellationToken: Token);
        return node;
    }
}
