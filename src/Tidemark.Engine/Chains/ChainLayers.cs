using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Graph;
using Tidemark.Blocks.Nodes;
using Tidemark.Engine.Nodes;
using Tidemark.Qmp;

namespace Tidemark.Engine.Chains;

/// <summary>The images of one disk, the given one first, without the filters between them.</summary>
internal sealed class ChainLayers
{
    /// <summary>The longest chain: what the engine opens by itself.</summary>
    internal const int MaximumLayers = NodeOpener.MaximumChainLength + 1;

    // How much of a chain is described in one request of the graph.
    private const long ScanLength = 256 << 20;

    private readonly List<NodeEntry> _layers = [];

    private ChainLayers()
    {
    }

    /// <summary>The layers, top first.</summary>
    internal IReadOnlyList<NodeEntry> All => _layers;

    /// <summary>Walks a chain down. Under the command gate.</summary>
    /// <exception cref="QmpException">It is too long.</exception>
    internal static ChainLayers Of(NodeSet nodes, BlockNode top)
    {
        ChainLayers chain = new();
        for (var node = SkipFilters(top); node is not null; node = SkipFilters(node.ChildOf(ChildRole.Backing)))
        {
            chain._layers.Add(nodes.Get(node));
            if (chain._layers.Count > MaximumLayers)
            {
                throw new QmpException(
                    QmpException.GenericError, $"the chain of node '{top.Name}' has over {MaximumLayers} layers");
            }
        }

        return chain;
    }

    /// <summary>The place of a node in the chain; -1 when it is not in it.</summary>
    /// <exception cref="QmpException">There is no such node.</exception>
    internal int IndexOf(NodeSet nodes, string name) => nodes.Graph.Find(name) is { } node
        ? _layers.FindIndex(layer => layer.Node == node)
        : throw new QmpException(
            QmpException.GenericError, $"Cannot find device='' nor node-name='{name}'");

    /// <summary>Marks what the layers of two depths hold, both inclusive: 1 is the disk's own.</summary>
    /// <param name="disk">The top of the chain.</param>
    /// <param name="first">The first depth.</param>
    /// <param name="last">The last depth.</param>
    /// <param name="bitmap">Takes the marks, rounded out to its granules.</param>
    /// <param name="cancellationToken">Stops it.</param>
    /// <remarks>Each part is one request of the graph, so the chain cannot change under it. The guest may write
    /// meanwhile: what it allocates is missed or not, but nothing that was allocated before the call is missed, because
    /// no write makes a cluster unallocated. (A discard may, and what is discarded is nobody's data.) Whoever must have
    /// the guest's writes too lets a bitmap record them from before the call on.</remarks>
    internal static async ValueTask MarkAsync(
        BlockBackend disk, int first, int last, DirtyBitmap bitmap, CancellationToken cancellationToken)
    {
        DepthList depths = new();
        for (long offset = 0; offset < bitmap.Length; offset += ScanLength)
        {
            depths.Clear();
            await disk.GetAllocationDepthAsync(
                offset, Math.Min(ScanLength, bitmap.Length - offset), depths, cancellationToken).ConfigureAwait(false);
            foreach (var run in depths)
            {
                if (run.Depth >= first && run.Depth <= last)
                {
                    bitmap.Set(run.Offset, run.Length);
                }
            }
        }
    }

    /// <summary>The node under any filters.</summary>
    internal static BlockNode? SkipFilters(BlockNode? node)
    {
        while (node is { IsFilter: true })
        {
            node = node.ChildOf(ChildRole.File);
        }

        return node;
    }
}
