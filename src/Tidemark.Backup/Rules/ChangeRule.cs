// What a commit or a stream does to bitmaps, where R3 (BitmapChain) leaves a hole.
//
// Both take layers out of the chain, and R1 judges what is left. Two things can then make a bitmap look valid that has
// lost writes, and nothing would ever tell:
//
//   the base keeps no bitmaps   Layers below the active one are committed into a raw base. R3 moves nothing, since a
//                               raw image has nowhere to put it; the active layer still has the checkpoint's bitmap,
//                               the base has none, and R1 says: older than the checkpoint. The bits of the layers that
//                               went are gone. Here they are merged into the active layer's bitmap instead: the union
//                               over the layers, all that counts, stays what it was
//   the gap goes                A bitmap that R1 refuses for what one of the layers is (it lacks it, it was disabled)
//                               is refused no more when that layer has gone. So such a change is refused, until the
//                               bitmap is deleted. Not where the base has the bitmap: a commit's own writes pass it,
//                               so it then names all that came from the layers
//
// What becomes the disk itself takes along only what is valid: a copy starts with no bitmaps of its own. An active
// commit may make a bitmap valid that the base has already and an overlay lacked, and it is: the job writes to the base
// all that the overlays hold, and these writes pass the base's bitmap like those of a guest.
//
// Bitmaps of different sizes cannot be merged: a disk that grew after a snapshot. The checkpoint is no base for an
// increment then (BitmapChain.OtherSize), so such a change is refused until it is deleted, which costs nothing.

using Tidemark.Backup.Actions;
using Tidemark.Backup.Graph;

namespace Tidemark.Backup.Rules;

/// <summary>What happens to bitmaps when layers leave a chain, beyond R3.</summary>
public static class ChangeRule
{
    /// <summary>Whether an image is its bytes and nothing else, encrypted or not: a raw node, or a protocol node that
    /// is a disk's own node.</summary>
    public static bool IsRaw(GraphNode image) =>
        image.Driver is "raw" or "luks" || GraphVersions.IsProtocol(image.Driver);

    /// <summary>Whether an image can hold persistent bitmaps.</summary>
    public static bool KeepsBitmaps(GraphNode image) => image is { Driver: "qcow2", Compat: not "0.10" };

    /// <summary>The checkpoints that end when an image takes the disk's place that keeps no bitmaps.</summary>
    /// <param name="chain">The disk's chain.</param>
    /// <param name="next">What takes its place.</param>
    public static IReadOnlyList<string> EndingAt(NodeChain chain, GraphNode next) => KeepsBitmaps(next)
        ? []
        : [.. chain.Top.Bitmaps.Select(bitmap => bitmap.Name)
            .Where(name => BitmapChain.Validate(chain, name).IsValid)];

    /// <summary>The merges of a commit: R3, or, below the active layer into a base that keeps no bitmaps, into the
    /// active layer.</summary>
    /// <param name="chain">The disk's chain.</param>
    /// <param name="top">The index of the topmost layer that is committed.</param>
    /// <param name="bottom">The index of the base.</param>
    public static IReadOnlyList<TransactionAction> Commit(NodeChain chain, int top, int bottom)
    {
        var target = chain.Layers[bottom];
        if (KeepsBitmaps(target))
        {
            return BitmapChain.Commit(chain, chain.Layers[top].Name, target.Name);
        }

        // A bitmap is merged with itself where only the active layer has it: nothing to do.
        return top == 0 ? [] :
        [
            .. BitmapChain.Stream(chain, chain.Top.Name, target.Name)
                .Where(action => action is BitmapMerge { Sources.Count: > 1 }),
        ];
    }

    /// <summary>The bitmap that a commit would make look valid, although it is not; null when there is none.</summary>
    /// <param name="chain">The disk's chain.</param>
    /// <param name="top">The index of the topmost layer that is committed.</param>
    /// <param name="bottom">The index of the base.</param>
    /// <param name="merge">What the commit merges into the base.</param>
    public static string? FalselyTrustedAfterCommit(
        NodeChain chain, int top, int bottom, IReadOnlyList<TransactionAction> merge)
    {
        var target = chain.Layers[bottom];
        return top == 0 ? null : FalselyTrusted(chain, top, bottom, name =>
            target.FindBitmap(name) is not null
            || merge.Any(action => action is BitmapMerge into && into.Node == target.Name && into.Target == name));
    }

    /// <summary>The bitmap that a stream into the active layer would make look valid, although it is not; null when
    /// there is none.</summary>
    /// <param name="chain">The disk's chain.</param>
    /// <param name="bottom">The index of the layer that stays below; the chain's length for none.</param>
    public static string? FalselyTrustedAfterStream(NodeChain chain, int bottom) =>
        FalselyTrusted(chain, 1, bottom, static _ => false);

    /// <summary>The bitmap that cannot be merged, because a layer that carries it has another size than the image that
    /// takes it; null when there is none.</summary>
    /// <param name="chain">The disk's chain.</param>
    /// <param name="merge">What is to be merged.</param>
    /// <param name="size">The size of the image that takes it, as it is then, in bytes.</param>
    public static string? OfOtherSize(NodeChain chain, IReadOnlyList<TransactionAction> merge, long size) =>
        merge.OfType<BitmapMerge>().FirstOrDefault(one => one.Sources.Any(source =>
            source.Name != BitmapChain.ActiveWriteName
            && chain.Layers.FirstOrDefault(layer => layer.Name == source.Node) is { } layer
            && layer.VirtualSize != size))?.Target;

    private static string? FalselyTrusted(NodeChain chain, int from, int to, Func<string, bool> isInBase)
    {
        var left = new NodeChain([.. chain.Layers.Take(from), .. chain.Layers.Skip(to)], chain.Gap);
        return chain.Top.Bitmaps.Select(bitmap => bitmap.Name).FirstOrDefault(name =>
            !BitmapChain.Validate(chain, name).IsValid && BitmapChain.Validate(left, name).IsValid && !isInBase(name));
    }
}
