// The rules for dirty bitmaps on backing chains, as pure functions. The rules are those that libvirt's own test data
// state (R1, R2, R4, R6), so that checkpoints of both tools can live on the same images.
//
// The idea: a checkpoint is one bitmap name. Each layer of a disk's backing chain may carry a bitmap of that name; a
// layer's bitmap tells what was written to that layer while it was the active one. Since only the active layer is ever
// written, the writes of the whole disk since the checkpoint are the union over the layers. When a snapshot puts an
// overlay on top, the recording must go on in the overlay from the same instant; when a layer in the middle lacks the
// bitmap, or one was disabled or damaged, the union has a hole, and nothing tells where: the bitmap is then worthless.
//
// Guarantee: Merge returns actions only for a chain on which every write since the checkpoint is in the union.

using Tidemark.Backup.Actions;
using Tidemark.Backup.Graph;

namespace Tidemark.Backup.Rules;

/// <summary>The rules R1, R2, R4 and R6 for bitmaps on backing chains.</summary>
public static class BitmapChain
{
    /// <summary>
    /// R1, valid. Walking from the active layer down: the top has the bitmap; the layers that have it are contiguous
    /// from the top; each is recording, persistent and not inconsistent. Layers below without it are older than the
    /// checkpoint.
    /// </summary>
    /// <remarks>
    /// Why: the top must have it, or writes since the last snapshot are unknown. A gap means that the layer in the gap
    /// was active for a while and nobody recorded. A bitmap that does not record has missed what came after it was
    /// disabled; one that is not persistent may have been re-created empty at a restart; an inconsistent one was not
    /// stored after its last changes. Violated, each of these loses writes silently: the increment leaves out a cluster
    /// that the guest changed. A chain whose lower part the hypervisor did not show is invalid for the same reason: a
    /// layer that is not seen may carry dirty bits.
    /// </remarks>
    /// <param name="chain">The disk's chain.</param>
    /// <param name="name">The bitmap's name.</param>
    public static ChainVerdict Validate(NodeChain chain, string name)
    {
        if (chain.Gap is { } gap)
        {
            return new ChainVerdict([], $"the backing chain cannot be followed: {gap}");
        }

        List<GraphNode> layers = [];
        GraphNode? without = null;
        foreach (var layer in chain.Layers)
        {
            var bitmap = layer.FindBitmap(name);
            if (bitmap is null)
            {
                without ??= layer;
                continue;
            }

            if (without is not null)
            {
                return new ChainVerdict(
                    [], $"bitmap '{name}' is on node '{layer.Name}' but not on '{without.Name}' above it");
            }

            if (Refuse(bitmap) is { } refusal)
            {
                return new ChainVerdict([], $"bitmap '{name}' on node '{layer.Name}' {refusal}");
            }

            layers.Add(layer);
        }

        return layers.Count == 0
            ? new ChainVerdict([], $"bitmap '{name}' is missing on node '{chain.Top.Name}'")
            : new ChainVerdict(layers, null);
    }

    /// <summary>
    /// R2, merge, for a backup: a transient, disabled bitmap on <paramref name="targetNode"/> with the granularity of
    /// the topmost source, then the merge of the bitmap from every layer that carries it, top first.
    /// </summary>
    /// <remarks>
    /// Why every layer: see the head of this file; leaving one out loses what was written before a snapshot. Why
    /// disabled: the set of clusters to read is fixed at the instant of the transaction; a bitmap that went on
    /// recording would name clusters that did not change before it. Why transient: it must not outlive the run in an
    /// image.
    /// </remarks>
    /// <param name="chain">The disk's chain.</param>
    /// <param name="name">The checkpoint's bitmap.</param>
    /// <param name="targetNode">The node that gets the temporary bitmap.</param>
    /// <param name="targetName">The temporary bitmap's name.</param>
    /// <returns>The two actions; none when the chain is not valid by R1.</returns>
    public static IReadOnlyList<TransactionAction> Merge(
        NodeChain chain, string name, string targetNode, string targetName)
    {
        var verdict = Validate(chain, name);
        if (!verdict.IsValid)
        {
            return [];
        }

        var granularity = verdict.Layers[0].FindBitmap(name)!.Granularity;
        return
        [
            new BitmapAdd(targetNode, targetName, Persistent: false, Disabled: true, granularity),
            new BitmapMerge(
                targetNode, targetName, [.. verdict.Layers.Select(layer => new BitmapReference(layer.Name, name))]),
        ];
    }

    /// <summary>R4, delete: every layer that carries the bitmap, valid or not, top first.</summary>
    /// <remarks>Why regardless of validity: an inconsistent bitmap can be removed and nothing else. Why independent of
    /// other checkpoints: each bitmap records by itself, so none is merged into another.</remarks>
    public static IReadOnlyList<BitmapReference> Delete(NodeChain chain, string name) =>
    [
        .. chain.Layers.Where(layer => layer.FindBitmap(name) is not null)
            .Select(layer => new BitmapReference(layer.Name, name)),
    ];

    /// <summary>R6, create: a persistent, recording bitmap on the active layer.</summary>
    /// <remarks>Why the active layer: nothing else is written. Why persistent: otherwise the next start of the
    /// hypervisor loses it and with it the next increment.</remarks>
    public static BitmapAdd Create(NodeChain chain, string name, long granularity) =>
        new(chain.Top.Name, name, Persistent: true, Disabled: false, granularity);

    private static string? Refuse(NodeBitmap bitmap)
    {
        if (bitmap.IsInconsistent)
        {
            return "is inconsistent: the image was not closed cleanly";
        }

        if (!bitmap.IsRecording)
        {
            return "is not recording: writes may have been missed";
        }

        return bitmap.IsPersistent ? null : "is not persistent: it is not the checkpoint's";
    }
}
