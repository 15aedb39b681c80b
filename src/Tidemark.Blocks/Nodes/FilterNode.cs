using Tidemark.Blocks.Extents;

namespace Tidemark.Blocks.Nodes;

/// <summary>A node with one <see cref="ChildRole.File"/> child that forwards whatever it does not override.</summary>
public abstract class FilterNode : BlockNode
{
    /// <summary>Creates a filter over a child.</summary>
    protected FilterNode(string name, BlockNode file)
        : base(name) => File = new BlockChild(this, ChildRole.File, file, $"node '{name}'");

    /// <summary>The edge to the child.</summary>
    public BlockChild File { get; }

    /// <inheritdoc/>
    public override bool IsFilter => true;

    /// <inheritdoc/>
    public override long Length => File.Node.Length;

    /// <inheritdoc/>
    public override bool IsReadOnly => File.Node.IsReadOnly;

    /// <inheritdoc/>
    public override BlockLimits Limits => File.Node.Limits;

    /// <inheritdoc/>
    public override IReadOnlyList<BlockChild> Children => [File];

    /// <inheritdoc/>
    public override ValueTask DisposeAsync()
    {
        File.Dispose();
        GC.SuppressFinalize(this);
        return default;
    }

    /// <inheritdoc/>
    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> target, CancellationToken cancellationToken) =>
        File.Node.ReadAsync(offset, target, cancellationToken);

    /// <inheritdoc/>
    protected override ValueTask WriteCoreAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken) =>
        File.Node.WriteAsync(offset, source, flags, cancellationToken);

    /// <inheritdoc/>
    protected override ValueTask WriteZeroesCoreAsync(
        long offset, long length, WriteFlags flags, CancellationToken cancellationToken) =>
        File.Node.WriteZeroesAsync(offset, length, flags, cancellationToken);

    /// <inheritdoc/>
    protected override ValueTask DiscardCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
        File.Node.DiscardAsync(offset, length, cancellationToken);

    /// <inheritdoc/>
    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken) =>
        File.Node.FlushAsync(cancellationToken);

    /// <inheritdoc/>
    protected override ValueTask ResizeCoreAsync(long length, CancellationToken cancellationToken) =>
        File.Node.ResizeAsync(length, cancellationToken);

    /// <inheritdoc/>
    protected override ValueTask GetBlockStatusCoreAsync(
        long offset, long length, ExtentList extents, CancellationToken cancellationToken) =>
        File.Node.GetBlockStatusAsync(offset, length, extents, cancellationToken);

    /// <inheritdoc/>
    protected override ValueTask GetAllocationDepthCoreAsync(
        long offset, long length, DepthList depths, CancellationToken cancellationToken) =>
        File.Node.GetAllocationDepthAsync(offset, length, depths, cancellationToken);
}
