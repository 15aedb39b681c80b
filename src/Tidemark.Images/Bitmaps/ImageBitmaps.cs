using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Nodes;
using Tidemark.Images.Opening;
using Tidemark.Qcow2;

namespace Tidemark.Images.Bitmaps;

/// <summary>Changes the persistent bitmaps of an image.</summary>
public static class ImageBitmaps
{
    /// <summary>Carries out the steps in their order. All is stored when the call completes; when a step fails, what
    /// the ones before it did is stored.</summary>
    /// <param name="name">The image.</param>
    /// <param name="open">How it is opened; writable is seen to here.</param>
    /// <param name="bitmap">The bitmap's name.</param>
    /// <param name="actions">The steps.</param>
    /// <param name="granularity">The granularity of a new bitmap; null for the usual one.</param>
    /// <param name="mergeSource">The image that merged bitmaps are taken from; null for the same.</param>
    /// <param name="cancellationToken">Stops it.</param>
    /// <returns>What was dropped besides, because the directory of bitmaps could not be read; null for
    /// nothing.</returns>
    /// <exception cref="BlockException">A step cannot be done; the message says which.</exception>
    public static async ValueTask<string?> RunAsync(
        string name, ImageOpenOptions open, string bitmap, IReadOnlyList<BitmapAction> actions, long? granularity,
        OpenImage? mergeSource, CancellationToken cancellationToken = default)
    {
        open = open with { WithoutBacking = true };
        var damage = actions.All(action => action.Kind == BitmapActionKind.Remove)
            ? await FindDamageAsync(name, open, cancellationToken).ConfigureAwait(false)
            : null;
        var policy = damage is null ? BrokenBitmapPolicy.Refuse : BrokenBitmapPolicy.Drop;
        var image = await ImageOpener.OpenAsync(
            name, open with { Writable = true, BrokenBitmaps = policy }, cancellationToken).ConfigureAwait(false);
        await using var closing = image.ConfigureAwait(false);
        if (damage is not null)
        {
            // Which bitmaps there were cannot be told any more: all of them go.
            return $"the bitmaps of '{name}' could not be read ({damage}); all of them were dropped, and 'image check "
                + "-r leaks' frees their clusters";
        }

        if (image.TopLayer.Qcow2 is not { } node)
        {
            throw ImageException.NotSupported($"'{name}' is raw: it cannot hold bitmaps");
        }

        foreach (var action in actions)
        {
            try
            {
                await RunOneAsync(node, bitmap, action, granularity, mergeSource?.Top ?? node, cancellationToken)
                    .ConfigureAwait(false);
            }
            catch (BlockException exception)
            {
                var verb = action.Kind.ToString().ToLowerInvariant();
                throw new ImageException(
                    exception.Kind, $"Operation {verb} on bitmap {bitmap} failed: {exception.Message}", exception);
            }
        }

        return null;
    }

    private static async ValueTask<string?> FindDamageAsync(
        string name, ImageOpenOptions open, CancellationToken cancellationToken)
    {
        var image = await ImageOpener.OpenAsync(name, open, cancellationToken).ConfigureAwait(false);
        await using var closing = image.ConfigureAwait(false);
        return image.TopLayer.Qcow2?.BitmapProblem;
    }

    private static ValueTask RunOneAsync(
        Qcow2Node node, string name, BitmapAction action, long? granularity, BlockNode mergeSource,
        CancellationToken cancellationToken)
    {
        switch (action.Kind)
        {
            case BitmapActionKind.Add:
                Add(node, name, granularity);
                return default;
            case BitmapActionKind.Remove:
                return RemoveAsync(node, name, cancellationToken);
            case BitmapActionKind.Clear:
                Find(node, name).Clear();
                return default;
            case BitmapActionKind.Enable:
                Find(node, name).IsRecording = true;
                return default;
            case BitmapActionKind.Disable:
                Find(node, name).IsRecording = false;
                return default;
            default:
                var (target, source) = (Find(node, name), Find(mergeSource, action.Source!));
                if (source.Length != target.Length)
                {
                    throw ImageException.Invalid(
                        $"Bitmaps are of different sizes (destination size is {target.Length}, source size is "
                        + $"{source.Length}) and can't be merged");
                }

                BitmapCopy.MergeBits(source, target);
                return default;
        }
    }

    private static void Add(Qcow2Node node, string name, long? granularity)
    {
        const long Smallest = 4096, Largest = 65536;
        if (node.Bitmaps.Find(name) is not null)
        {
            throw new ImageException(BlockErrorKind.BadName, $"Bitmap already exists: {name}");
        }

        var bytes = granularity ?? Math.Clamp(node.ClusterSize, Smallest, Largest);
        if (!System.Numerics.BitOperations.IsPow2(bytes))
        {
            throw ImageException.Invalid("Granularity must be power of 2");
        }

        if (!node.CanStorePersistentBitmap(name, bytes, out var reason))
        {
            throw ImageException.Invalid(reason);
        }

        node.Bitmaps.Add(new DirtyBitmap(name, node.Length, bytes) { IsPersistent = true, IsRecording = true });
    }

    private static async ValueTask RemoveAsync(Qcow2Node node, string name, CancellationToken cancellationToken)
    {
        var bitmap = node.Bitmaps.Find(name) ?? throw NotFound(name);
        await node.RemoveStoredBitmapAsync(name, cancellationToken).ConfigureAwait(false);
        node.Bitmaps.Remove(bitmap);
    }

    private static DirtyBitmap Find(BlockNode node, string name)
    {
        var bitmap = node.Bitmaps.Find(name) ?? throw NotFound(name);
        return bitmap.IsInconsistent
            ? throw ImageException.Invalid(
                $"Bitmap '{name}' is inconsistent and cannot be used; remove it with 'image bitmap --remove'")
            : bitmap;
    }

    private static ImageException NotFound(string name) =>
        new(BlockErrorKind.NotFound, $"Dirty bitmap '{name}' not found");
}
