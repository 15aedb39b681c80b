using Tidemark.Blocks.Graph;
using Tidemark.Blocks.Nodes;
using Tidemark.Engine.Nodes;
using Tidemark.Qcow2;
using Tidemark.Qmp;

namespace Tidemark.Engine.Transactions;

/// <summary>
/// <c>blockdev-snapshot</c>: an overlay that has no backing node yet goes over a disk. The disk's users use the overlay
/// from then on, and nobody may write the disk any more.
/// </summary>
/// <remarks>The disk is flushed first: what was written to it and not flushed yet is below the overlay from then on,
/// where no flush of a user goes, and a user's next flush promises it.</remarks>
internal sealed class SnapshotAction(NodeSet nodes, string nodeName, string overlayName) : GraphAction
{
    private NodeEntry? _disk;
    private Qcow2Node? _overlay;
    private IReadOnlyList<BlockChild> _moved = [];

    /// <inheritdoc/>
    public override async ValueTask PrepareAsync(CancellationToken cancellationToken)
    {
        var disk = nodes.Get(nodeName);
        var overlay = nodes.Get(overlayName);
        if (disk.JobType is { } type)
        {
            throw Refuse($"Node '{nodeName}' is busy: block device is in use by block job: {type}");
        }

        if (disk.Node.Parents.FirstOrDefault(parent => parent.Role == ChildRole.Backing) is { } above)
        {
            throw Refuse($"Node '{nodeName}' is busy: node is used as backing hd of '{above.Owner?.Name}'");
        }

        if (overlay.Node.Parents.Count > 0)
        {
            throw Refuse("The overlay is already in use");
        }

        if (overlay.Node.ChildOf(ChildRole.Backing) is not null)
        {
            throw Refuse("The overlay already has a backing image");
        }

        if (overlay.Node is not Qcow2Node image)
        {
            throw Refuse("The overlay does not support backing images");
        }

        if (BlockGraph.Descendants(disk.Node).Contains(overlay.Node))
        {
            throw Refuse("Making the overlay's backing image would create a cycle");
        }

        await disk.Node.FlushAsync(cancellationToken).ConfigureAwait(false);
        image.SetBacking(disk.Node);
        _moved = BlockGraph.ReplaceParents(disk.Node, image);
        (_disk, _overlay) = (disk, image);
        disk.IsFrozen = true;
        try
        {
            nodes.Permissions.Check();
        }
        catch
        {
            Abort();
            throw;
        }
    }

    /// <inheritdoc/>
    public override void Abort()
    {
        foreach (var parent in _moved)
        {
            parent.Replace(_disk!.Node);
        }

        _disk!.IsFrozen = false;
        _overlay!.SetBacking(null);
    }

    private static QmpException Refuse(string description) => new(QmpException.GenericError, description);
}
