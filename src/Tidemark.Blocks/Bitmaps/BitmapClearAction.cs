using Tidemark.Blocks.Graph;

namespace Tidemark.Blocks.Bitmaps;

/// <summary>QMP's <c>block-dirty-bitmap-clear</c>: nothing is dirty any more.</summary>
/// <param name="graph">Where the node is looked up when the action is prepared.</param>
/// <param name="nodeName">The node.</param>
/// <param name="bitmapName">The bitmap.</param>
public sealed class BitmapClearAction(BlockGraph graph, string nodeName, string bitmapName) : GraphAction
{
    private DirtyBitmap? _bitmap;
    private ulong[]? _before;

    /// <inheritdoc/>
    public override ValueTask PrepareAsync(CancellationToken cancellationToken)
    {
        var (node, bitmap) = BitmapRules.Find(graph, nodeName, bitmapName);
        BitmapRules.RequireWritable(node, bitmap);
        _before = bitmap.CopyWords();
        _bitmap = bitmap;
        bitmap.Clear();
        return default;
    }

    /// <inheritdoc/>
    /// <remarks>Adds the old marks to those there now rather than replacing them: an undo may say too much, never too
    /// little.</remarks>
    public override void Abort() => _bitmap!.MergeWords(_before);

    /// <inheritdoc/>
    public override void Commit() => _before = null;
}
