using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Graph;
using Tidemark.Blocks.Nodes;
using Tidemark.Engine.Events;
using Tidemark.Engine.Nodes;

namespace Tidemark.Engine.Chains;

/// <summary>
/// A job that moves what some layers of a chain hold into another one: it marks what they hold, copies that, and makes
/// it durable. Nothing is marked later: who writes the layer that takes it meanwhile is the derived job's business.
/// </summary>
internal abstract class LayersJob : ChainJob
{
    private readonly DirtyBitmap _toCopy;
    private readonly int _first;
    private readonly int _last;
    private BlockBackend? _from;
    private BlockBackend? _to;
    private volatile bool _isMarked;

    /// <summary>Prepares the job; it holds nothing yet.</summary>
    /// <param name="options">The job's options.</param>
    /// <param name="nodes">The engine's nodes.</param>
    /// <param name="top">The node from which layers are counted; it is the first.</param>
    /// <param name="layers">The first and the last layer whose data moves.</param>
    /// <param name="time">The clock.</param>
    /// <param name="events">Where events go.</param>
    protected LayersJob(
        ChainJobOptions options,
        NodeSet nodes,
        BlockNode top,
        (int First, int Last) layers,
        TimeProvider time,
        IEventSink events)
        : base(options, nodes, time, events)
    {
        (_first, _last) = layers;

        // Not one of the node's bitmaps: it records nothing, it is a list.
        _toCopy = new DirtyBitmap(null, top.Length, BitmapRules.DefaultGranularity(top));
    }

    /// <inheritdoc/>
    internal override long CurrentProgress => _isMarked ? Math.Max(0, _toCopy.Length - Copy.DirtyBytes) : 0;

    /// <inheritdoc/>
    internal override long TotalProgress => _toCopy.Length;

    /// <inheritdoc/>
    internal override async Task RunAsync(CancellationToken cancellationToken)
    {
        await ChainLayers.MarkAsync(_from!, _first, _last, _toCopy, cancellationToken).ConfigureAwait(false);
        _isMarked = true;
        await CopyDirtyAsync(cancellationToken).ConfigureAwait(false);
        await _to!.FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Sets what moves: once, before the job begins.</summary>
    /// <param name="from">The root over the top.</param>
    /// <param name="to">The root over the layer that takes it.</param>
    /// <param name="step">Copies one range.</param>
    protected void Move(BlockBackend from, BlockBackend to, DirtyCopy.Step step)
    {
        (_from, _to) = (from, to);
        CopyBy(from, _toCopy, step);
    }
}
