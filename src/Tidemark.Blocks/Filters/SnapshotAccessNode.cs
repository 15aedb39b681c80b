using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Blocks.Filters;

/// <summary>
/// The frozen view over a <see cref="CopyBeforeWriteFilter"/>: the disk at the filter's point in time. QEMU's
/// <c>snapshot-access</c>; like there it is no filter, so a bitmap is not found through it.
/// </summary>
/// <remarks>A read returns the bytes of the point in time or fails with <see cref="BlockErrorKind.SnapshotBroken"/>, or
/// with <see cref="BlockErrorKind.Invalid"/> for parts that are not kept. A discard says that the reader wants no more
/// of a range; its scratch space is freed, and reading it fails. Writes are not supported.</remarks>
public sealed class SnapshotAccessNode : BlockNode
{
    private readonly BlockChild _file;

    /// <summary>Creates the view.</summary>
    public SnapshotAccessNode(string name, CopyBeforeWriteFilter filter)
        : base(name)
    {
        Filter = filter;
        _file = new BlockChild(this, ChildRole.File, filter, $"node '{name}'");
    }

    /// <summary>The filter that keeps the snapshot.</summary>
    public CopyBeforeWriteFilter Filter { get; }

    /// <summary>
    /// Whether the reader may discard what it no longer wants. False makes the node read-only, so that a writable
    /// export of it is refused.
    /// </summary>
    public bool TakesDiscards { get; init; } = true;

    /// <inheritdoc/>
    public override bool IsReadOnly => !TakesDiscards;

    /// <inheritdoc/>
    public override string Driver => "snapshot-access";

    /// <inheritdoc/>
    public override long Length => Filter.Length;

    /// <inheritdoc/>
    public override BlockLimits Limits => Filter.Limits with { PreferredSize = Filter.Copy.ClusterSize };

    /// <inheritdoc/>
    public override IReadOnlyList<BlockChild> Children => [_file];

    /// <inheritdoc/>
    public override ValueTask DisposeAsync()
    {
        _file.Dispose();
        return default;
    }

    /// <inheritdoc/>
    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> target, CancellationToken cancellationToken) =>
        Filter.ReadSnapshotAsync(offset, target, cancellationToken);

    /// <inheritdoc/>
    protected override ValueTask WriteCoreAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken) =>
        throw NotWritable();

    /// <inheritdoc/>
    protected override ValueTask WriteZeroesCoreAsync(
        long offset, long length, WriteFlags flags, CancellationToken cancellationToken) => throw NotWritable();

    /// <inheritdoc/>
    protected override ValueTask DiscardCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
        Filter.DiscardSnapshotAsync(offset, length, cancellationToken);

    /// <inheritdoc/>
    protected override ValueTask GetBlockStatusCoreAsync(
        long offset, long length, ExtentList extents, CancellationToken cancellationToken) =>
        Filter.GetSnapshotStatusAsync(offset, length, extents, cancellationToken);

    private BlockException NotWritable() =>
        new(
            BlockErrorKind.NotSupported,
            $"snapshot-access node '{Name}' cannot be written: a snapshot does not change");
}
