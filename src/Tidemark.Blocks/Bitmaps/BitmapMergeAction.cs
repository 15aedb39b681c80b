using Tidemark.Blocks.Graph;

namespace Tidemark.Blocks.Bitmaps;

/// <summary>
/// QMP's <c>block-dirty-bitmap-merge</c>: adds the marks of several bitmaps, of this node or of others, to one. Either
/// all of them are added or, on an error, none.
/// </summary>
/// <param name="graph">Where the nodes are looked up when the action is prepared.</param>
/// <param name="nodeName">The node of the target.</param>
/// <param name="targetName">The bitmap that is added to.</param>
/// <param name="sources">The bitmaps that are added, each with its node.</param>
public sealed class BitmapMergeAction(
    BlockGraph graph, string nodeName, string targetName, IReadOnlyList<(string Node, string Bitmap)> sources)
    : GraphAction
{
    private DirtyBitmap? _target;
    private ulong[]? _before;

    /// <inheritdoc/>
    public override ValueTask PrepareAsync(CancellationToken cancellationToken)
    {
        var (node, target) = BitmapRules.Find(graph, nodeName, targetName);

        // Everything is gathered beside the target first, so that a bad source leaves the target as it was.
        var gathered = new DirtyBitmap(null, target.Length, target.Granularity);
        foreach (var (sourceNode, sourceName) in sources)
        {
            var source = sourceNode == nodeName
                ? BitmapRules.Find(node, sourceName)
                : BitmapRules.Find(graph, sourceNode, sourceName).Bitmap;
            BitmapRules.RequireUsable(source);
            gathered.Merge(source);
        }

        BitmapRules.RequireWritable(node, target);
        _before = target.CopyWords();
        _target = target;
        target.MergeWords(gathered.CopyWords());
        return default;
    }

    /// <inheritdoc/>
    public override void Commit() => _before = null;

    /// <inheritdoc/>
    /// <remarks>Exact, because no write can have marked the target since: the section is drained.</remarks>
    public override void Abort() => _target!.RestoreWords(_before);
}
