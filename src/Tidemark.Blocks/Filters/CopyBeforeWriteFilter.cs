// The frozen view: a disk as it was at one instant t0, while the guest goes on writing to it.
//
//        guest                                        readers of the snapshot
//          |                                            |              |
//   CopyBeforeWriteFilter <------- SnapshotAccessNode --+              |
//      | file       | target                                           |
//      v            v                                                  v
//     disk       scratch  (a plain one, or an overlay over the disk: guarded by FleecingGuard)
//
// The guarantee: a read of the snapshot returns the disk's bytes at t0, or fails; never anything else. Why it holds:
//
// 1. The filter is put in while no request is under way. From t0 on every write of the guest passes it.
// 2. A write (also of zeroes, also a discard) that touches a cluster first waits until that cluster is saved on the
//    target (BlockCopy.EnsureCopied), and only then reaches the disk. Until then the disk has the bytes of t0 there.
// 3. A reader that finds a cluster saved reads the target, where it never changes again. One that does not, reads the
//    disk, and has registered itself before it looked. A write waits, after the saving, for the readers registered on
//    its clusters. Either the reader looked after the saving, and reads the target; or it looked before, so it was
//    registered before, and the write sees it and waits. No third order exists.
// 4. When something cannot be saved, or not in time, and the guest is to win, the copy is stopped. That is one moment
//    under BlockCopy's lock: before it, no write has passed unsaved; after it, nothing more counts as saved. A reader
//    looks again after its read: if the copy is stopped by then, its bytes may be newer, and it fails.
// 5. What no reader wants (outside the access bitmap, or discarded by the reader) is not saved, and reading it fails,
//    also for a read that was under way when it was discarded.

using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Copy;
using Tidemark.Blocks.Graph;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Blocks.Filters;

/// <summary>
/// Saves the old data of a disk on a target before each write reaches the disk: QEMU's <c>copy-before-write</c>. The
/// point in time is the moment when the filter takes over the disk's parents.
/// </summary>
/// <remarks>
/// Make it, then put it in with <see cref="Install"/>, both in one drained section. Take it out with <see cref="Stop"/>
/// and, in a drained section, <see cref="Uninstall"/>; then dispose it. All writes to the disk must pass the filter:
/// whoever lets somebody write refuses a node for which <see cref="FindAbove"/> finds one.
/// </remarks>
public sealed partial class CopyBeforeWriteFilter : FilterNode
{
    private readonly CopyBeforeWriteOptions _options;
    private readonly RangeLock _frozenReads;
    private readonly FleecingGuard? _guard;
    private readonly DirtyBitmap _access;

    /// <summary>Makes the filter; it is not in anybody's way yet.</summary>
    /// <param name="name">The filter's node name.</param>
    /// <param name="file">The disk.</param>
    /// <param name="target">Where old data is saved; as long as the disk.</param>
    /// <param name="options">Options; null for the defaults.</param>
    /// <exception cref="BlockException">The target is read-only, shorter, or was a snapshot's overlay
    /// before.</exception>
    public CopyBeforeWriteFilter(string name, BlockNode file, BlockNode target, CopyBeforeWriteOptions? options = null)
        : base(name, file)
    {
        _options = options ?? new CopyBeforeWriteOptions();
        Target = new BlockChild(this, ChildRole.Target, target, $"node '{name}'");
        try
        {
            if (target.IsReadOnly)
            {
                throw new BlockException(BlockErrorKind.ReadOnly, $"the target '{target.Name}' is read-only");
            }

            var inline = _options.Copy.InlineContinuations;
            Copy = new BlockCopy(File, Target, _options.Copy with { Bitmap = _options.Access });
            _frozenReads = new RangeLock(inline);
            _access = new DirtyBitmap(null, file.Length, _options.Access?.Granularity ?? Copy.ClusterSize);
            if (_options.Access is { } access)
            {
                _access.Merge(access);
            }
            else
            {
                _access.Set(0, file.Length);
            }

            if (_options.TargetIsSnapshot && BlockGraph.Descendants(target).Contains(file))
            {
                _guard = new FleecingGuard(Copy, target, inline);
                Copy.Guard = _guard;
            }
        }
        catch
        {
            Target.Dispose();
            File.Dispose();
            throw;
        }
    }

    /// <summary>The edge to where old data is saved.</summary>
    public BlockChild Target { get; }

    /// <summary>The engine that copies; a job shares it, so that no cluster is copied twice.</summary>
    public BlockCopy Copy { get; }

    /// <summary>Why the snapshot cannot be read any more, or null while it can.</summary>
    public BlockException? SnapshotError => Copy.Failure;

    /// <inheritdoc/>
    public override string Driver => "copy-before-write";

    /// <inheritdoc/>
    public override IReadOnlyList<BlockChild> Children => [File, Target];

    /// <summary>The filter that saves old data of a node, if there is one: writes must go through it.</summary>
    public static CopyBeforeWriteFilter? FindAbove(BlockNode disk)
    {
        foreach (var parent in disk.Parents)
        {
            if (parent is { Role: ChildRole.File, Owner: CopyBeforeWriteFilter filter })
            {
                return filter;
            }
        }

        return null;
    }

    /// <summary>
    /// Takes over the disk's parents, all but those below the filter itself: the point in time. Only inside a drained
    /// section.
    /// </summary>
    public void Install() => BlockGraph.ReplaceParents(File.Node, this);

    /// <summary>
    /// Gives the parents back to the disk. Only inside a drained section, and after every reader of the snapshot has
    /// gone. A filter that was not stopped is undone as if it had never been: a transaction's abort.
    /// </summary>
    public void Uninstall()
    {
        if (Copy.Failure is null)
        {
            _guard?.Remove();
        }

        BlockGraph.ReplaceParents(this, File.Node);
    }

    /// <summary>
    /// Ends the snapshot: the guest's writes pass unhindered from here on, reads of the snapshot fail. Whatever of an
    /// overlay was not saved cannot be read any more; what was saved can.
    /// </summary>
    public void Stop() => Break(new BlockException(
        BlockErrorKind.SnapshotBroken,
        $"the snapshot of node '{File.Node.Name}' has ended: the filter '{Name}' was removed"));

    /// <inheritdoc/>
    public override async ValueTask DisposeAsync()
    {
        Stop();
        await Copy.DisposeAsync().ConfigureAwait(false);
        Target.Dispose();
        await base.DisposeAsync().ConfigureAwait(false);
    }

    /// <inheritdoc/>
    protected override ValueTask WriteCoreAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken)
    {
        var saving = SaveAsync(offset, source.Length, cancellationToken);
        return saving.IsCompletedSuccessfully
            ? File.Node.WriteAsync(offset, source, flags, cancellationToken)
            : WriteAfterAsync(saving, offset, source, flags, cancellationToken);
    }

    private async ValueTask WriteAfterAsync(
        ValueTask saving,
        long offset,
        ReadOnlyMemory<byte> source,
        WriteFlags flags,
        CancellationToken cancellationToken)
    {
        await saving.ConfigureAwait(false);
        await File.Node.WriteAsync(offset, source, flags, cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    protected override async ValueTask WriteZeroesCoreAsync(
        long offset, long length, WriteFlags flags, CancellationToken cancellationToken)
    {
        await SaveAsync(offset, length, cancellationToken).ConfigureAwait(false);
        await File.Node.WriteZeroesAsync(offset, length, flags, cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    protected override async ValueTask DiscardCoreAsync(
        long offset, long length, CancellationToken cancellationToken)
    {
        await SaveAsync(offset, length, cancellationToken).ConfigureAwait(false);
        await File.Node.DiscardAsync(offset, length, cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    protected override ValueTask ResizeCoreAsync(long length, CancellationToken cancellationToken) =>
        throw new BlockException(
            BlockErrorKind.NotSupported,
            $"cannot resize node '{File.Node.Name}' while filter '{Name}' keeps a snapshot of it");

    // Returns when the range may be changed on the disk.
    private ValueTask SaveAsync(long offset, long length, CancellationToken cancellationToken)
    {
        if (Copy.Failure is not null)
        {
            return default;
        }

        var mask = (long)Copy.ClusterSize - 1;
        var from = offset & ~mask;
        var to = Math.Min(Copy.Length, (offset + length + mask) & ~mask);
        return Copy.IsSettled(from, to - from) && !_frozenReads.IsHeld(from, to - from)
            ? default
            : SaveSlowlyAsync(from, to - from, cancellationToken);
    }

    private async ValueTask SaveSlowlyAsync(long offset, long length, CancellationToken cancellationToken)
    {
        using var limit = _options.Timeout is { } timeout ? new CancellationTokenSource(timeout, _options.Clock) : null;
        using var both = limit is null
            ? null
            : CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, limit.Token);
        var token = both?.Token ?? cancellationToken;
        try
        {
            await Copy.EnsureCopiedAsync(offset, length, detached: limit is not null, token).ConfigureAwait(false);
            await _frozenReads.WaitUntilFreeAsync(offset, length, token).ConfigureAwait(false);
        }
        catch (Exception) when (cancellationToken.IsCancellationRequested)
        {
            // The guest gave up its own write. It does not happen, so nothing is lost.
            throw;
        }
        catch (Exception exception)
        {
            GiveWay(offset, length, limit?.IsCancellationRequested == true ? TimedOut(exception) : exception);
        }
    }

    private BlockException TimedOut(Exception cause) => new(
        BlockErrorKind.Io, $"saving old data took longer than {_options.Timeout!.Value.TotalSeconds:0.###} s", cause);

    // Somebody must give way: the snapshot, or the guest's write by an exception from here.
    private void GiveWay(long offset, long length, Exception cause)
    {
        if (Copy.Failure is not null)
        {
            return;
        }

        var what = $"old data at {offset}+{length} of node '{File.Node.Name}' "
            + $"could not be saved on '{Target.Node.Name}'";
        if (_options.OnError == CopyBeforeWritePolicy.BreakGuestWrite)
        {
            var kind = cause is BlockException known ? known.Kind : BlockErrorKind.Io;
            throw new BlockException(kind, $"the write was refused: {what}: {cause.Message}", cause);
        }

        Break(new BlockException(
            BlockErrorKind.SnapshotBroken, $"the snapshot is broken: {what}: {cause.Message}", cause));
    }

    private void Break(BlockException failure)
    {
        Copy.Stop(failure);
        _frozenReads.Break();
        _guard?.Break();
    }
}
