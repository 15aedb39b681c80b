using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Client;

namespace Tidemark.Nbd.Copy;

/// <summary>What one lane of a copy holds: a buffer, from the arrival of a piece's bytes until they are
/// written.</summary>
internal sealed class CopyLane(CopyBuffers buffers) : ILateTarget
{
    private byte[]? _buffer;
    private bool _isZero;

    /// <summary>Reads a piece.</summary>
    /// <param name="source">The disk.</param>
    /// <param name="late">The same, if it gives bytes to memory that is taken when they come; or null.</param>
    /// <param name="piece">What to read.</param>
    /// <param name="cancellationToken">Gives up.</param>
    internal ValueTask ReadAsync(
        BlockNode source, NbdNode? late, in CopyPiece piece, CancellationToken cancellationToken)
    {
        _isZero = false;
        var length = (int)piece.Length;
        return late is not null
            ? late.ReadLateAsync(piece.Offset, length, this, cancellationToken)
            : source.ReadAsync(piece.Offset, Take(length), cancellationToken);
    }

    /// <summary>Whether the source said of the piece that was read, in place of its bytes, that it is zero.</summary>
    internal bool IsZero => _isZero;

    /// <summary>The bytes of the piece that was read; good until <see cref="Release"/>.</summary>
    internal Memory<byte> BytesOrZeroes(int length)
    {
        var bytes = Take(length);
        if (_isZero)
        {
            bytes.Span.Clear();
        }

        return bytes;
    }

    /// <summary>The piece is done, and no request uses its bytes any more.</summary>
    internal void Release()
    {
        if (_buffer is { } buffer)
        {
            _buffer = null;
            buffers.GiveBack(buffer);
        }
    }

    /// <inheritdoc/>
    public Memory<byte> Take(int length)
    {
        _buffer ??= buffers.Take();
        return _buffer.AsMemory(0, length);
    }

    /// <inheritdoc/>
    public void SetZero() => _isZero = true;
}
