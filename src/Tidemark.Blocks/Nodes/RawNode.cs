using Tidemark.Blocks.Extents;

namespace Tidemark.Blocks.Nodes;

/// <summary>
/// The format that is none: the bytes of a file node are the disk, QEMU's <c>raw</c>. With an offset or a size, a part
/// of them.
/// </summary>
public sealed class RawNode : BlockNode
{
    private readonly long _offset;
    private readonly long? _size;
    private volatile bool _readOnly;

    /// <summary>Creates the format over a file.</summary>
    /// <param name="name">The node's name.</param>
    /// <param name="file">The node that holds the bytes.</param>
    /// <param name="offset">Where the disk begins in the file, in bytes.</param>
    /// <param name="size">How long the disk is; null for the rest of the file.</param>
    /// <param name="readOnly">Whether writes are refused although the file takes them.</param>
    /// <exception cref="BlockException">The part lies outside the file, or does not begin where the file can be
    /// written.</exception>
    public RawNode(string name, BlockNode file, long offset = 0, long? size = null, bool readOnly = false)
        : base(name)
    {
        (_offset, _size, _readOnly) = (offset, size, readOnly);
        var left = file.Length - _offset;
        if (_offset < 0 || left < 0 || _size < 0 || _size > left)
        {
            throw new BlockException(
                BlockErrorKind.Invalid,
                $"The sum of offset ({_offset}) and size ({_size ?? 0}) has to be smaller or equal to the "
                + $"actual size of the containing file ({file.Length})");
        }

        if (_offset % file.Limits.RequestAlignment != 0)
        {
            throw new BlockException(
                BlockErrorKind.Invalid,
                $"offset {_offset} of node '{name}' is no multiple of the {file.Limits.RequestAlignment} "
                + $"that '{file.Name}' needs");
        }

        File = new BlockChild(this, ChildRole.File, file, $"node '{name}'");
    }

    /// <summary>The edge to the file.</summary>
    public BlockChild File { get; }

    /// <inheritdoc/>
    public override string Driver => "raw";

    /// <inheritdoc/>
    public override long Length => _size ?? Math.Max(0, File.Node.Length - _offset);

    /// <inheritdoc/>
    public override bool IsReadOnly => _readOnly || File.Node.IsReadOnly;

    /// <inheritdoc/>
    public override BlockLimits Limits => File.Node.Limits;

    /// <inheritdoc/>
    public override IReadOnlyList<BlockChild> Children => [File];

    /// <inheritdoc/>
    public override ValueTask DisposeAsync()
    {
        File.Dispose();
        return default;
    }

    /// <inheritdoc/>
    protected override ValueTask SetReadOnlyCoreAsync(bool readOnly)
    {
        if (!readOnly && File.Node.IsReadOnly)
        {
            throw new BlockException(
                BlockErrorKind.ReadOnly,
                $"node '{Name}' cannot be made writable: its file node '{File.Node.Name}' is read-only");
        }

        _readOnly = readOnly;
        return default;
    }

    /// <inheritdoc/>
    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> target, CancellationToken cancellationToken) =>
        File.Node.ReadAsync(_offset + offset, target, cancellationToken);

    /// <inheritdoc/>
    protected override ValueTask WriteCoreAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken) =>
        File.Node.WriteAsync(_offset + offset, source, flags, cancellationToken);

    /// <inheritdoc/>
    protected override ValueTask WriteZeroesCoreAsync(
        long offset, long length, WriteFlags flags, CancellationToken cancellationToken) =>
        File.Node.WriteZeroesAsync(_offset + offset, length, flags, cancellationToken);

    /// <inheritdoc/>
    protected override ValueTask DiscardCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
        File.Node.DiscardAsync(_offset + offset, length, cancellationToken);

    /// <inheritdoc/>
    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken) =>
        File.Node.FlushAsync(cancellationToken);

    /// <inheritdoc/>
    protected override ValueTask ResizeCoreAsync(long length, CancellationToken cancellationToken) => _size is null
        ? File.Node.ResizeAsync(_offset + length, cancellationToken)
        : throw new BlockException(
            BlockErrorKind.NotSupported, $"cannot resize node '{Name}': it is a fixed part of '{File.Node.Name}'");

    /// <inheritdoc/>
    protected override async ValueTask GetBlockStatusCoreAsync(
        long offset, long length, ExtentList extents, CancellationToken cancellationToken)
    {
        if (_offset == 0)
        {
            await File.Node.GetBlockStatusAsync(offset, length, extents, cancellationToken).ConfigureAwait(false);
            return;
        }

        var below = new ExtentList();
        await File.Node.GetBlockStatusAsync(_offset + offset, length, below, cancellationToken).ConfigureAwait(false);
        foreach (var extent in below)
        {
            extents.Append(extent.Offset - _offset, extent.Length, extent.Flags);
        }
    }

    /// <inheritdoc/>
    protected override async ValueTask GetAllocationDepthCoreAsync(
        long offset, long length, DepthList depths, CancellationToken cancellationToken)
    {
        var below = new DepthList();
        await File.Node.GetAllocationDepthAsync(_offset + offset, length, below, cancellationToken)
            .ConfigureAwait(false);
        foreach (var run in below)
        {
            depths.Append(run.Offset - _offset, run.Length, run.Depth);
        }
    }
}
