using Tidemark.Blocks.Nodes;

namespace Tidemark.Testing;

/// <summary>A disk in memory, for tests.</summary>
public sealed class MemoryNode : BlockNode
{
    public MemoryNode(string name, byte[] content)
        : base(name) => Content = content;

    public byte[] Content { get; }

    public override string Driver => "memory";

    public override long Length => Content.Length;

    public override ValueTask DisposeAsync() => default;

    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> target, CancellationToken cancellationToken)
    {
        Content.AsMemory((int)offset, target.Length).CopyTo(target);
        return default;
    }

    protected override ValueTask WriteCoreAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken)
    {
        source.CopyTo(Content.AsMemory((int)offset));
        return default;
    }

    protected override ValueTask WriteZeroesCoreAsync(
        long offset, long length, WriteFlags flags, CancellationToken cancellationToken)
    {
        Content.AsSpan((int)offset, (int)length).Clear();
        return default;
    }
}
