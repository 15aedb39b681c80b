using Tidemark.Blocks.Graph;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Blocks.Bitmaps;

/// <summary>QMP's <c>block-dirty-bitmap-remove</c>: takes a bitmap off its node, and out of the image.</summary>
/// <remarks>
/// The image's copy goes first, while preparing, because that is the step that can fail; the bitmap in memory goes with
/// the commit. Why nothing in between can lie about what was written:
/// <list type="bullet">
/// <item>the transaction is aborted: the bitmap in memory never stopped recording, is still persistent, and is stored
/// again, whole, when the node is closed;</item>
/// <item>the process dies before that: the image has no such bitmap. It would have had one marked as in use, which
/// nobody may rely on either. A bitmap that is not there is a full read, never a missed write;</item>
/// <item>removal from the image fails: the action fails, and the image's copy, removed or not, is one that is marked
/// as in use while the image is open for writing.</item>
/// </list>
/// Between prepare and the end the bitmap is busy, so no other action of the transaction can use it.
/// </remarks>
/// <param name="graph">Where the node is looked up when the action is prepared.</param>
/// <param name="nodeName">The node.</param>
/// <param name="bitmapName">The bitmap.</param>
public sealed class BitmapRemoveAction(BlockGraph graph, string nodeName, string bitmapName) : GraphAction
{
    private BlockNode? _node;
    private DirtyBitmap? _bitmap;

    /// <inheritdoc/>
    public override async ValueTask PrepareAsync(CancellationToken cancellationToken)
    {
        var (node, bitmap) = BitmapRules.Find(graph, nodeName, bitmapName);
        BitmapRules.RequireRemovable(node, bitmap);
        if (bitmap.IsPersistent)
        {
            await node.RemoveStoredBitmapAsync(bitmapName, cancellationToken).ConfigureAwait(false);
        }

        bitmap.IsBusy = true;
        (_node, _bitmap) = (node, bitmap);
    }

    /// <inheritdoc/>
    public override void Commit()
    {
        _node!.Bitmaps.Remove(_bitmap!);
        _bitmap!.IsBusy = false;
    }

    /// <inheritdoc/>
    public override void Abort() => _bitmap!.IsBusy = false;
}
