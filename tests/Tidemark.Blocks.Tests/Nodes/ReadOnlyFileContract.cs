namespace Tidemark.Blocks.Tests.Nodes;

public sealed class ReadOnlyFileContract : RawFileNodeContract
{
    protected override bool CanWrite => false;
}
