// Makes another disk the same as one that its guest writes, and, when it is told to, moves the guest over to it. The
// commit of an active layer is the same with the base as the other disk, and only what lies above the base to copy.
//
//   running     what there is to copy is copied, and what the guest has written meanwhile
//   ready       everything was the same at one moment; what the guest writes is copied soon after
//   the end     told to complete: catch up once more, then one drained section: no request of the guest is under way;
//               the rest is copied, the target flushed, and every user of the disk is pointed at the target. Told to
//               end (block-job-cancel without force): the same without the pointing, so the target is the disk of that
//               moment
//
// Why no write is lost at the pivot. Every write of the guest is in exactly one of two sets. Those completed before the
// drained section began: they are on the source, and DirtyCopy has the argument that each is also on the target when
// its bitmap is empty, which it is before the pointing. Those that begin after the section: they go through a root that
// points at the target. A request that came during the section waits at the gate and finds the new node when it is let
// in (BlockBackend reads its node after the gate). A write is never on both sides, and none goes to the source after
// the last copy. If anything fails before the pointing, or the graph would not be sound with it, nothing is pointed:
// the guest goes on with the source, which has everything.
//
// What the guest has flushed is durable on the target too when it goes over: the flush is inside of the section.
//
// A commit of the active layer writes to the base under the guest's feet: only ranges that a layer above the base
// holds, so nothing that the guest can read changes. (Rounded out to granules: what the granule has besides is the
// base's own, and is written back as it is; nobody else writes the base.) An aborted commit leaves such ranges behind,
// and they stay hidden.
//
// If the guest writes faster than the target takes it, catching up never ends by itself; after a few rounds the rest is
// copied in the drained section, and the guest waits for that long.

using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Graph;
using Tidemark.Blocks.Nodes;
using Tidemark.Engine.Events;
using Tidemark.Engine.Jobs;
using Tidemark.Engine.Nodes;

namespace Tidemark.Engine.Chains;

/// <summary>QEMU's mirror job, and its commit of the active layer.</summary>
internal sealed class MirrorJob : ChainJob
{
    // What may be left for the drained section, and how often it is tried to come there.
    private const long SmallRest = 4 << 20;
    private const int MaximumRounds = 8;

    private static readonly TimeSpan s_interval = TimeSpan.FromMilliseconds(50);

    private readonly JobSet _jobs;
    private readonly NodeEntry _source;
    private readonly NodeEntry _target;
    private readonly DirtyBitmap _dirty;
    private readonly BlockBackend _disk;
    private readonly BlockBackend _to;
    private readonly int _depth;
    private readonly bool _wasFrozen;
    private bool _completes;

    /// <summary>Takes the disks; in a drained section.</summary>
    /// <param name="options">The job's options.</param>
    /// <param name="nodes">The engine's nodes.</param>
    /// <param name="jobs">The jobs, which are told when it is ready.</param>
    /// <param name="type">The job's type: <c>mirror</c> or <c>commit</c>.</param>
    /// <param name="source">The disk.</param>
    /// <param name="target">The other disk, or the base.</param>
    /// <param name="depth">How many layers from the top are copied; zero for all that can be read.</param>
    /// <param name="granularity">Bytes of a granule.</param>
    /// <param name="time">The clock.</param>
    /// <param name="events">Where events go.</param>
    internal MirrorJob(
        ChainJobOptions options,
        NodeSet nodes,
        JobSet jobs,
        string type,
        NodeEntry source,
        NodeEntry target,
        int depth,
        long granularity,
        TimeProvider time,
        IEventSink events)
        : base(options, nodes, time, events)
    {
        Type = type;
        _jobs = jobs;
        (_source, _target, _depth) = (source, target, depth);
        _dirty = new DirtyBitmap(null, source.Node.Length, granularity);
        source.Node.Bitmaps.Add(_dirty);
        if (depth == 0)
        {
            _dirty.Set(0, _dirty.Length);
        }

        _wasFrozen = target.IsFrozen;
        target.IsFrozen = false;
        _disk = Use(source.Node, "source", writes: false, sharesWrite: true);
        _to = Use(target.Node, "target", writes: true, sharesWrite: false);
        CopyBy(_disk, _dirty, (node, range, copy, token) =>
            copy.CopyAsync(node, _target.Node, range, WriteFlags.None, token));
    }

    /// <inheritdoc/>
    internal override string Type { get; }

    /// <inheritdoc/>
    internal override async Task RunAsync(CancellationToken cancellationToken)
    {
        if (_depth > 0)
        {
            // The bitmap has recorded since the job was made, so what the guest writes during this is in it.
            await ChainLayers.MarkAsync(_disk, 1, _depth, _dirty, cancellationToken).ConfigureAwait(false);
        }

        do
        {
            await CopyDirtyAsync(cancellationToken).ConfigureAwait(false);
        }
        while (!Copy.IsClean);
        await _jobs.BecomeReadyAsync(this).ConfigureAwait(false);
        while (!EndRequested.IsCompleted)
        {
            await Task.WhenAny(EndRequested, Task.Delay(s_interval, Time, cancellationToken)).ConfigureAwait(false);
            cancellationToken.ThrowIfCancellationRequested();
            if (!EndRequested.IsCompleted && !Copy.IsClean)
            {
                await CopyDirtyAsync(cancellationToken).ConfigureAwait(false);
            }
        }

        _completes = await EndRequested.ConfigureAwait(false);
        for (var round = 0; round < MaximumRounds && Copy.DirtyBytes > SmallRest; round++)
        {
            await CopyDirtyAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    internal override async ValueTask PrepareAsync()
    {
        using (await Nodes.Graph.DrainAsync(Cancellation).ConfigureAwait(false))
        {
            await Copy.FinishAsync(Cancellation).ConfigureAwait(false);
            await _target.Node.FlushAsync(Cancellation).ConfigureAwait(false);
            if (_completes)
            {
                Pivot();
            }
        }
    }

    /// <inheritdoc/>
    internal override ValueTask AbortAsync()
    {
        _completes = false;
        return ReleaseAsync();
    }

    /// <inheritdoc/>
    internal override ValueTask ReleaseAsync()
    {
        _source.Node.Bitmaps.Remove(_dirty);
        _target.IsFrozen = _wasFrozen && !_completes;
        return base.ReleaseAsync();
    }

    private void Pivot()
    {
        // The guest is to write the target; until now nobody but the job might.
        Nodes.RemoveRoot(_to);
        var moved = BlockGraph.ReplaceParents(_source.Node, _target.Node);
        try
        {
            Nodes.Permissions.Check();
        }
        catch
        {
            foreach (var parent in moved)
            {
                parent.Replace(_source.Node);
            }

            throw;
        }

        KeepOpen(_target);
    }
}
