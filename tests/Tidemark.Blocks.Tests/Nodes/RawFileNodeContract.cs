using Tidemark.Blocks.Files;
using Tidemark.Blocks.Nodes;
using Tidemark.Testing;

namespace Tidemark.Blocks.Tests.Nodes;

public class RawFileNodeContract : NodeContract, IDisposable
{
    private readonly TemporaryDirectory _directory = new();

    public void Dispose()
    {
        _directory.Dispose();
        GC.SuppressFinalize(this);
    }

    protected override ValueTask<BlockNode> CreateAsync(byte[] content)
    {
        var path = _directory.File("disk.raw");
        File.WriteAllBytes(path, content);
        return new ValueTask<BlockNode>(RawFileNode.Open("disk", path, readOnly: !CanWrite));
    }
}
