using Tidemark.Blocks.Nodes;

namespace Tidemark.Testing;

/// <summary>A file in memory that a format can grow.</summary>
public sealed class GrowingNode(string name) : BlockNode(name)
{
    private readonly Lock _gate = new();
    private byte[] _content = new byte[16 << 20];
    private long _length;

    public override string Driver => "memory";

    public override long Length => Volatile.Read(ref _length);

    public override ValueTask DisposeAsync() => default;

    protected override ValueTask ReadCoreAsync(
        long offset, Memory<byte> target, CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            _content.AsMemory((int)offset, target.Length).CopyTo(target);
        }

        return default;
    }

    protected override ValueTask WriteCoreAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            source.CopyTo(_content.AsMemory((int)offset));
        }

        return default;
    }

    protected override ValueTask WriteZeroesCoreAsync(
        long offset, long length, WriteFlags flags, CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            _content.AsSpan((int)offset, (int)length).Clear();
        }

        return default;
    }

    protected override ValueTask ResizeCoreAsync(long length, CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            if (length > _content.Length)
            {
                Array.Resize(ref _content, (int)Math.Max(length, 2L * _content.Length));
            }

            Volatile.Write(ref _length, length);
        }

        return default;
    }
}
