using Tidemark.Blocks.Graph;

namespace Tidemark.Blocks.Bitmaps;

/// <summary>
/// QMP's <c>block-dirty-bitmap-enable</c> and <c>-disable</c>: whether a bitmap records from here on.
/// </summary>
/// <param name="graph">Where the node is looked up when the action is prepared.</param>
/// <param name="nodeName">The node.</param>
/// <param name="bitmapName">The bitmap.</param>
/// <param name="enable">True to record, false to stop.</param>
public sealed class BitmapEnableAction(BlockGraph graph, string nodeName, string bitmapName, bool enable) : GraphAction
{
    private DirtyBitmap? _bitmap;
    private bool _before;

    /// <inheritdoc/>
    public override ValueTask PrepareAsync(CancellationToken cancellationToken)
    {
        var (_, bitmap) = BitmapRules.Find(graph, nodeName, bitmapName);
        BitmapRules.RequireUsable(bitmap);
        _before = bitmap.IsRecording;
        _bitmap = bitmap;
        bitmap.IsRecording = enable;
        return default;
    }

    /// <inheritdoc/>
    public override void Abort() => _bitmap!.IsRecording = _before;
}
