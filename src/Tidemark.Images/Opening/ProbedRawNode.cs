using Tidemark.Blocks.Nodes;
using Tidemark.Images.Formats;

namespace Tidemark.Images.Opening;

/// <summary>
/// A raw disk whose format was guessed. A guest that could write another format's first bytes here would choose what
/// the next one who guesses reads, with backing file names of its choice: such a write is refused, as QEMU refuses it.
/// </summary>
/// <remarks>Whatever changes the first bytes does so one after the other: two writes of half a magic number each, at
/// the same time, would both look harmless beside what was there before.</remarks>
internal sealed class ProbedRawNode(string name, BlockNode file) : FilterNode(name, file)
{
    private readonly SemaphoreSlim _changing = new(1, 1);

    /// <inheritdoc/>
    public override string Driver => ImageFormat.Raw;

    /// <inheritdoc/>
    public override bool IsFilter => false;

    /// <inheritdoc/>
    public override async ValueTask DisposeAsync()
    {
        await base.DisposeAsync().ConfigureAwait(false);
        _changing.Dispose();
    }

    /// <inheritdoc/>
    protected override ValueTask WriteCoreAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken) =>
        offset >= ImageFormat.ProbeLength
            ? base.WriteCoreAsync(offset, source, flags, cancellationToken)
            : ChangeAsync(
                offset,
                source.Length,
                source,
                () => base.WriteCoreAsync(offset, source, flags, cancellationToken),
                cancellationToken);

    /// <inheritdoc/>
    protected override ValueTask WriteZeroesCoreAsync(
        long offset, long length, WriteFlags flags, CancellationToken cancellationToken) =>
        offset >= ImageFormat.ProbeLength
            ? base.WriteZeroesCoreAsync(offset, length, flags, cancellationToken)
            : ChangeAsync(
                offset,
                length,
                default,
                () => base.WriteZeroesCoreAsync(offset, length, flags, cancellationToken),
                cancellationToken);

    /// <inheritdoc/>
    protected override ValueTask DiscardCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
        offset >= ImageFormat.ProbeLength
            ? base.DiscardCoreAsync(offset, length, cancellationToken)
            : ChangeAsync(
                offset, length, default, () => base.DiscardCoreAsync(offset, length, cancellationToken),
                cancellationToken);

    // A zero completes a magic number as well ("QED" and a zero is one); a source that is shorter than the length
    // stands for zeroes.
    private async ValueTask ChangeAsync(
        long offset,
        long length,
        ReadOnlyMemory<byte> source,
        Func<ValueTask> change,
        CancellationToken cancellationToken)
    {
        await _changing.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            // What the first bytes would be after the change.
            var start = await ImageFormat.ReadStartAsync(File.Node, cancellationToken).ConfigureAwait(false);
            if (offset < start.Length)
            {
                var changed = start.AsSpan((int)offset, (int)Math.Min(length, start.Length - offset));
                changed.Clear();
                source.Span[..Math.Min(source.Length, changed.Length)].CopyTo(changed);
            }

            if (ImageFormat.Probe(start) is var format && format != ImageFormat.Raw)
            {
                throw new ImageException(
                    BlockErrorKind.ReadOnly,
                    $"a write to the first bytes of '{Name}' is refused: it would make the image look like {format}, "
                    + "and its format was only guessed to be raw; open it with format raw to allow this");
            }

            await change().ConfigureAwait(false);
        }
        finally
        {
            _changing.Release();
        }
    }
}
