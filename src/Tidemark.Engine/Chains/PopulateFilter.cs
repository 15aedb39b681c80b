using Tidemark.Blocks.Copy;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Engine.Chains;

/// <summary>Over a disk into which a job brings up what lies below it: keeps the disk's users from writing where the
/// job is at work.</summary>
internal sealed class PopulateFilter(string name, BlockNode file) : FilterNode(name, file)
{
    private readonly RangeLock _writes = new();

    /// <inheritdoc/>
    public override string Driver => "copy-on-read";

    /// <summary>Waits for the writes that are under way in a range, and keeps others off it until disposal.</summary>
    internal ValueTask<RangeLock.Entry> HoldAsync(long offset, long length, CancellationToken cancellationToken) =>
        _writes.EnterExclusiveAsync(offset, length, cancellationToken);

    /// <inheritdoc/>
    protected override async ValueTask WriteCoreAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken)
    {
        using var held = await _writes.EnterSharedAsync(offset, source.Length, cancellationToken)
            .ConfigureAwait(false);
        await base.WriteCoreAsync(offset, source, flags, cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    protected override async ValueTask WriteZeroesCoreAsync(
        long offset, long length, WriteFlags flags, CancellationToken cancellationToken)
    {
        using var held = await _writes.EnterSharedAsync(offset, length, cancellationToken).ConfigureAwait(false);
        await base.WriteZeroesCoreAsync(offset, length, flags, cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    protected override async ValueTask DiscardCoreAsync(
        long offset, long length, CancellationToken cancellationToken)
    {
        using var held = await _writes.EnterSharedAsync(offset, length, cancellationToken).ConfigureAwait(false);
        await base.DiscardCoreAsync(offset, length, cancellationToken).ConfigureAwait(false);
    }
}
