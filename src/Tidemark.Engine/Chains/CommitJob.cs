// Commits layers that nobody writes into one below them: every range that one of them holds is written to the base.
// What the disk's guest reads does not change by that, since these ranges are hidden by the layers as long as they are
// there. At the end, in a drained section: the base is flushed, the header of each image right above the top names the
// base, and those images get the base as their backing node.
//
// The order matters if the process or the machine dies: a header names the base only when all data is durable there;
// until then it names the top, below which everything is as it was.

using Tidemark.Blocks.Nodes;
using Tidemark.Engine.Events;
using Tidemark.Engine.Nodes;
using Tidemark.Qcow2;

namespace Tidemark.Engine.Chains;

/// <summary>QEMU's commit of layers below the active one.</summary>
internal sealed class CommitJob : LayersJob
{
    private readonly NodeEntry _base;
    private readonly IReadOnlyList<Qcow2Node> _above;
    private readonly string? _backingFile;
    private readonly bool _wasFrozen;

    /// <summary>Takes the layers; in a drained section.</summary>
    /// <param name="options">The job's options.</param>
    /// <param name="nodes">The engine's nodes.</param>
    /// <param name="top">The topmost layer that is committed.</param>
    /// <param name="target">The layer that takes it.</param>
    /// <param name="above">The images right above the top.</param>
    /// <param name="depth">How many layers are committed.</param>
    /// <param name="backingFile">What their headers shall say; null for the base's own name.</param>
    /// <param name="time">The clock.</param>
    /// <param name="events">Where events go.</param>
    internal CommitJob(
        ChainJobOptions options,
        NodeSet nodes,
        NodeEntry top,
        NodeEntry target,
        IReadOnlyList<Qcow2Node> above,
        int depth,
        string? backingFile,
        TimeProvider time,
        IEventSink events)
        : base(options, nodes, top.Node, (1, depth), time, events)
    {
        _base = target;
        _above = above;
        _backingFile = backingFile;
        _wasFrozen = target.IsFrozen;
        target.IsFrozen = false;
        Move(
            Use(top.Node, "source", writes: false, sharesWrite: true),
            Use(target.Node, "target", writes: true, sharesWrite: false),
            (node, range, copy, token) => copy.CopyAsync(node, _base.Node, range, WriteFlags.None, token));
    }

    /// <inheritdoc/>
    internal override string Type => "commit";

    /// <inheritdoc/>
    internal override async ValueTask PrepareAsync()
    {
        using (await Nodes.Graph.DrainAsync(Cancellation).ConfigureAwait(false))
        {
            // Nobody wrote the base since its flush: the job alone may. If a later header cannot be written, an
            // earlier one names the base already, over which its image reads the same.
            var name = _backingFile ?? NodeFileNames.Show(_base, Nodes);
            var opened = await ReadOnlyChange.OpenAsync(Nodes, _above.Select(Nodes.Get)).ConfigureAwait(false);
            try
            {
                foreach (var image in _above)
                {
                    await image.ChangeBackingFileAsync(name, _base.Node.Driver, Cancellation).ConfigureAwait(false);
                }
            }
            finally
            {
                await ReadOnlyChange.CloseAsync(Nodes, opened).ConfigureAwait(false);
            }

            foreach (var image in _above)
            {
                image.SetBacking(_base.Node);
            }
        }
    }

    /// <inheritdoc/>
    internal override ValueTask ReleaseAsync()
    {
        _base.IsFrozen = _wasFrozen;
        return base.ReleaseAsync();
    }
}
