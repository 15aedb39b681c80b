using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Engine.Nodes;

/// <summary>QEMU's <c>raw</c> format: its file's bytes, or a part of them.</summary>
internal sealed class RawNode : BlockNode
{
    private readonly BlockChild _file;
    private readonly long _offset;
    private readonly long? _size;
    private readonly bool _readOnly;

    /// <summary>Opens the part of a file from <paramref name="offset"/> on.</summary>
    /// <exception cref="BlockException">The part reaches past the end of the file.</exception>
    internal RawNode(string name, BlockNode file, long offset, long? size, bool readOnly)
        : base(name)
    {
        if (offset > file.Length || size > file.Length - offset)
        {
            throw new BlockException(
                BlockErrorKind.Invalid,
                $"The sum of offset ({offset}) and size ({size ?? 0}) has to be smaller or equal to the "
                + $"actual size of the containing file ({file.Length})");
        }

        _offset = offset;
        _size = size;
        _readOnly = readOnly;
        _file = new BlockChild(this, ChildRole.File, file, $"node '{name}'");
    }

    /// <inheritdoc/>
    public override string Driver => "raw";

    /// <inheritdoc/>
    public override long Length => _size ?? (_file.Node.Length - _offset);

    /// <inheritdoc/>
    public override bool IsReadOnly => _readOnly || _file.Node.IsReadOnly;

    /// <inheritdoc/>
    public override BlockLimits Limits => _file.Node.Limits;

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
        _file.Node.ReadAsync(_offset + offset, target, cancellationToken);

    /// <inheritdoc/>
    protected override ValueTask WriteCoreAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken) =>
        _file.Node.WriteAsync(_offset + offset, source, flags, cancellationToken);

    /// <inheritdoc/>
    protected override ValueTask WriteZeroesCoreAsync(
        long offset, long length, WriteFlags flags, CancellationToken cancellationToken) =>
        _file.Node.WriteZeroesAsync(_offset + offset, length, flags, cancellationToken);

    /// <inheritdoc/>
    protected override ValueTask DiscardCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
        _file.Node.DiscardAsync(_offset + offset, length, cancellationToken);

    /// <inheritdoc/>
    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken) =>
        _file.Node.FlushAsync(cancellationToken);

    /// <inheritdoc/>
    protected override async ValueTask GetBlockStatusCoreAsync(
        long offset, long length, ExtentList extents, CancellationToken cancellationToken)
    {
        if (_offset == 0)
        {
            await _file.Node.GetBlockStatusAsync(offset, length, extents, cancellationToken).ConfigureAwait(false);
            return;
        }

        var below = new ExtentList();
        await _file.Node.GetBlockStatusAsync(_offset + offset, length, below, cancellationToken).ConfigureAwait(false);
        foreach (var extent in below)
        {
            extents.Append(extent.Offset - _offset, extent.Length, extent.Flags);
        }
    }
}
