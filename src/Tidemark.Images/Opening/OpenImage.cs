using Tidemark.Blocks.Nodes;

namespace Tidemark.Images.Opening;

/// <summary>An image that is open, with its backing chain. Owns all nodes.</summary>
public sealed class OpenImage : IAsyncDisposable
{
    private readonly List<BlockNode> _owned;

    internal OpenImage(IReadOnlyList<ImageLayer> layers, List<BlockNode> owned)
    {
        Layers = layers;
        _owned = owned;
    }

    /// <summary>The chain, top first.</summary>
    public IReadOnlyList<ImageLayer> Layers { get; }

    /// <summary>The image that was asked for.</summary>
    public ImageLayer TopLayer => Layers[0];

    /// <summary>The disk.</summary>
    public BlockNode Top => Layers[0].Node;

    /// <summary>Closes the images from the top down: what must outlive them is stored and durable.</summary>
    /// <exception cref="BlockException">The top could not be stored in full; all are closed all the same.</exception>
    public ValueTask DisposeAsync() => DisposeAllAsync(_owned);

    internal static async ValueTask DisposeAllAsync(List<BlockNode> owned)
    {
        BlockException? first = null;
        for (var index = owned.Count - 1; index >= 0; index--)
        {
            try
            {
                await owned[index].DisposeAsync().ConfigureAwait(false);
            }
            catch (BlockException exception)
            {
                first ??= exception;
            }
        }

        owned.Clear();
        if (first is not null)
        {
            throw new ImageException(first.Kind, first.Message, first);
        }
    }
}
