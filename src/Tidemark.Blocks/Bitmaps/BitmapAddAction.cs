using System.Numerics;
using Tidemark.Blocks.Graph;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Blocks.Bitmaps;

/// <summary>QMP's <c>block-dirty-bitmap-add</c>: a new clean bitmap on a node.</summary>
/// <param name="graph">Where the node is looked up when the action is prepared.</param>
/// <param name="nodeName">The node.</param>
/// <param name="bitmapName">The new bitmap's name.</param>
public sealed class BitmapAddAction(BlockGraph graph, string nodeName, string bitmapName) : GraphAction
{
    private BlockNode? _node;

    /// <summary>Bytes per bit; null for <see cref="BitmapRules.DefaultGranularity"/>.</summary>
    public long? Granularity { get; init; }

    /// <summary>Whether the image is to keep the bitmap.</summary>
    public bool Persistent { get; init; }

    /// <summary>Whether the bitmap does not record from the start.</summary>
    public bool Disabled { get; init; }

    /// <summary>The new bitmap, once the action was prepared.</summary>
    public DirtyBitmap? Bitmap { get; private set; }

    /// <inheritdoc/>
    public override ValueTask PrepareAsync(CancellationToken cancellationToken)
    {
        BitmapRules.RequireName(bitmapName);
        var node = graph.Get(nodeName);
        if (Granularity is { } wanted && (wanted < DirtyBitmap.MinimumGranularity || !BitOperations.IsPow2(wanted)))
        {
            throw new BlockException(BlockErrorKind.Invalid, "Granularity must be power of 2 and at least 512");
        }

        var granularity = Granularity ?? BitmapRules.DefaultGranularity(node);
        if (Persistent && !node.CanStorePersistentBitmap(bitmapName, granularity, out var reason))
        {
            throw new BlockException(BlockErrorKind.NotSupported, reason);
        }

        var bitmap = new DirtyBitmap(bitmapName, node.Length, granularity)
        {
            IsPersistent = Persistent,
            IsRecording = !Disabled,
        };
        node.Bitmaps.Add(bitmap);
        (_node, Bitmap) = (node, bitmap);
        return default;
    }

    /// <inheritdoc/>
    public override void Abort() => _node!.Bitmaps.Remove(Bitmap!);
}
