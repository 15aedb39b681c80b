using Tidemark.Blocks.Nodes;
using Tidemark.Images.Formats;

namespace Tidemark.Images.Opening;

/// <summary>
/// A raw disk whose format was guessed. A guest that could write another format's first bytes here would choose what
/// the next one who guesses reads, with backing file names of its choice: such a write is refused, as QEMU refuses it.
/// </summary>
internal sealed class ProbedRawNode(string name, BlockNode file) : FilterNode(name, file)
{
    /// <inheritdoc/>
    public override string Driver => ImageFormat.Raw;

    /// <inheritdoc/>
    public override bool IsFilter => false;

    /// <inheritdoc/>
    protected override ValueTask WriteCoreAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken) =>
        offset >= ImageFormat.ProbeLength
            ? base.WriteCoreAsync(offset, source, flags, cancellationToken)
            : WriteCheckedAsync(offset, source, flags, cancellationToken);

    private async ValueTask WriteCheckedAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken)
    {
        // What the first bytes would be after the write.
        var alignment = File.Node.Limits.RequestAlignment;
        var start = new byte[Math.Min(ImageFormat.ProbeLength, Length) / alignment * alignment];
        await File.Node.ReadAsync(0, start, cancellationToken).ConfigureAwait(false);
        if (offset < start.Length)
        {
            source.Span[..(int)Math.Min(source.Length, start.Length - offset)].CopyTo(start.AsSpan((int)offset));
        }

        if (ImageFormat.Probe(start) is var format && format != ImageFormat.Raw)
        {
            throw new ImageException(
                BlockErrorKind.ReadOnly,
                $"a write to the first bytes of '{Name}' is refused: it would make the image look like {format}, and "
                + "its format was only guessed to be raw; open it with format raw to allow this");
        }

        await base.WriteCoreAsync(offset, source, flags, cancellationToken).ConfigureAwait(false);
    }
}
