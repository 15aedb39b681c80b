using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Engine.Nodes;

/// <summary>A disk that keeps nothing: QEMU's <c>null-co</c>. It reads as zeroes.</summary>
internal sealed class NullNode(string name, long length, bool readZeroes, bool readOnly) : BlockNode(name)
{
    /// <inheritdoc/>
    public override string Driver => "null-co";

    /// <inheritdoc/>
    public override long Length => length;

    /// <inheritdoc/>
    public override bool IsReadOnly => readOnly;

    /// <inheritdoc/>
    public override ValueTask DisposeAsync() => default;

    /// <inheritdoc/>
    /// <remarks>A buffer may come from a pool and hold another disk's bytes: it is always cleared.</remarks>
    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> target, CancellationToken cancellationToken)
    {
        target.Span.Clear();
        return default;
    }

    /// <inheritdoc/>
    protected override ValueTask WriteCoreAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken) => default;

    /// <inheritdoc/>
    protected override ValueTask WriteZeroesCoreAsync(
        long offset, long length, WriteFlags flags, CancellationToken cancellationToken) => default;

    /// <inheritdoc/>
    protected override ValueTask GetBlockStatusCoreAsync(
        long offset, long length, ExtentList extents, CancellationToken cancellationToken)
    {
        extents.Append(offset, length, readZeroes ? ExtentFlags.Zero : ExtentFlags.None);
        return default;
    }
}
