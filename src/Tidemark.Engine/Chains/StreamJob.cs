// Brings up into a disk what the layers below it hold, down to a base that stays, or all of it; then those layers are
// let go of. The guest goes on writing.
//
// Why no write is lost. The guest's writes pass a filter over the disk and hold their range there, shared. A step of
// the job holds its range alone; then it looks once more what the disk itself has, and writes only where the disk has
// nothing: bytes that a read of the disk gives anyhow. So a step's write is either before a guest's write, which then
// overwrites it, or after it, and then it sees that the disk has the range and lets it be.
//
// What is brought up is marked in no dirty bitmap: it changes nothing that can be read (WriteFlags.Unchanged, whose
// condition the filter meets). The bitmaps of the layers are the client's business, as with QEMU.
//
// The end, in a drained section: the disk is flushed; its header names the base, or nothing; then the base is its
// backing node. In this order, so that whatever dies in between, the header never names a chain that lacks data.
//
// A layer that is shorter than the disk answers with zeroes behind its end, and those are brought up too: a longer base
// would show something else there.

using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Graph;
using Tidemark.Blocks.Nodes;
using Tidemark.Engine.Events;
using Tidemark.Engine.Nodes;
using Tidemark.Qcow2;

namespace Tidemark.Engine.Chains;

/// <summary>QEMU's stream job.</summary>
internal sealed class StreamJob : LayersJob
{
    private readonly Qcow2Node _image;
    private readonly NodeEntry? _base;
    private readonly string? _backingFile;
    private readonly PopulateFilter _filter;
    private readonly NodeEntry _filterEntry;
    private NodeEntry? _dropped;
    private bool _isInstalled = true;

    /// <summary>Takes the layers and puts the filter in; in a drained section.</summary>
    /// <param name="options">The job's options.</param>
    /// <param name="nodes">The engine's nodes.</param>
    /// <param name="filterName">The name of the filter's node.</param>
    /// <param name="image">The disk.</param>
    /// <param name="target">The layer that stays below; null for none.</param>
    /// <param name="depth">The depth of the last layer that is brought up, the disk itself being 1.</param>
    /// <param name="backingFile">What the header shall say; null for the base's own name.</param>
    /// <param name="time">The clock.</param>
    /// <param name="events">Where events go.</param>
    internal StreamJob(
        ChainJobOptions options,
        NodeSet nodes,
        string filterName,
        Qcow2Node image,
        NodeEntry? target,
        int depth,
        string? backingFile,
        TimeProvider time,
        IEventSink events)
        : base(options, nodes, image, (2, depth), time, events)
    {
        (_image, _base, _backingFile) = (image, target, backingFile);
        _filter = new PopulateFilter(filterName, image);
        _filterEntry = new NodeEntry(_filter, null);
        nodes.Add(_filterEntry);
        BlockGraph.ReplaceParents(image, _filter);
        Hold([_filterEntry]);
        var disk = Use(image, "disk", writes: true, sharesWrite: true);
        Move(disk, disk, CopyUpAsync);
    }

    /// <inheritdoc/>
    internal override string Type => "stream";

    /// <inheritdoc/>
    internal override async ValueTask PrepareAsync()
    {
        using (await Nodes.Graph.DrainAsync(Cancellation).ConfigureAwait(false))
        {
            // Everything that was brought up is durable since the end of the work; and all of it is there: what the
            // disk did not hold itself then, its guest has written since.
            var name = _base is null ? null : _backingFile ?? NodeFileNames.Show(_base, Nodes);
            await _image.ChangeBackingFileAsync(name, _base?.Node.Driver, Cancellation).ConfigureAwait(false);
            _dropped = _image.ChildOf(ChildRole.Backing) is { } below ? Nodes.Find(below) : null;
            _image.SetBacking(_base?.Node);
            Uninstall();
        }
    }

    /// <inheritdoc/>
    internal override async ValueTask AbortAsync()
    {
        using (await Nodes.Graph.DrainAsync().ConfigureAwait(false))
        {
            Uninstall();
        }

        await ReleaseAsync().ConfigureAwait(false);
    }

    /// <inheritdoc/>
    internal override async ValueTask ReleaseAsync()
    {
        await base.ReleaseAsync().ConfigureAwait(false);
        await Nodes.RemoveAsync(_filterEntry).ConfigureAwait(false);

        // A layer that nobody has named was opened for the disk alone, and goes when the disk lets go of it.
        if (_dropped is not null && Nodes.Find(_dropped.Node) is { IsOwnedByMonitor: false }
            && _dropped.Node.Parents.Count == 0)
        {
            await Nodes.RemoveAsync(_dropped).ConfigureAwait(false);
        }
    }

    /// <summary>Takes the filter out; in a drained section.</summary>
    internal void Uninstall()
    {
        if (_isInstalled)
        {
            _isInstalled = false;
            BlockGraph.ReplaceParents(_filter, _image);
        }
    }

    private async ValueTask CopyUpAsync(
        BlockNode disk, Extent range, RangeCopy copy, CancellationToken cancellationToken)
    {
        using var alone = await _filter.HoldAsync(range.Offset, range.Length, cancellationToken).ConfigureAwait(false);
        ExtentList own = [];
        await _image.GetOwnStatusAsync(range.Offset, range.Length, own, cancellationToken).ConfigureAwait(false);
        foreach (var extent in own)
        {
            if (extent.IsHole)
            {
                await copy.CopyAsync(_image, _image, extent, WriteFlags.Unchanged, cancellationToken)
                    .ConfigureAwait(false);
            }
        }
    }
}
