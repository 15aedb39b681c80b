// The rules for dirty bitmaps on backing chains, as pure functions. The rules are those that libvirt's own test data
// state (R1 to R7), so that checkpoints of both tools can live on the same images.
//
// The idea: a checkpoint is one bitmap name. Each layer of a disk's backing chain may carry a bitmap of that name; a
// layer's bitmap tells what was written to that layer while it was the active one. Since only the active layer is ever
// written, the writes of the whole disk since the checkpoint are the union over the layers. When a snapshot puts an
// overlay on top, the recording must go on in the overlay from the same instant; when a layer in the middle lacks the
// bitmap, or one was disabled or damaged, the union has a hole, and nothing tells where: the bitmap is then worthless.
//
// What else is written to an image than by its guest (a commit, a copy, a stream) moves data between layers, and the
// bitmaps have to move with it, or the union has a hole from then on. While such a job runs, the guest's own writes go
// to both sides; those to the new side are kept by a bitmap of their own (ActiveWriteName) until the others are merged.
//
// Guarantee: Merge returns actions only for a chain on which every write since the checkpoint is in the union.
//
// A chain "from a layer down" is what each rule judges: R1 is always evaluated to the end of the chain, also where the
// merge itself stops at a base.

using Tidemark.Backup.Actions;
using Tidemark.Backup.Graph;

namespace Tidemark.Backup.Rules;

/// <summary>The rules R1 to R7 for bitmaps on backing chains.</summary>
public static class BitmapChain
{
    /// <summary>The bitmap that keeps what the guest writes to the new side while a job moves data there.</summary>
    public const string ActiveWriteName = "libvirt-tmp-activewrite";

    /// <summary>The bitmap into which a checkpoint is merged to learn its size.</summary>
    public const string SizeName = "libvirt-tmp-size-xml";

    private const string MigrationPrefix = "libvirt-migration-";

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

    /// <summary>Why a valid checkpoint can still not be merged: one of the layers that carry it has another size than
    /// the disk; null when none has.</summary>
    /// <remarks>
    /// Why: bitmaps of different sizes cannot be merged, every hypervisor refuses it. It comes about when a disk grows
    /// after a snapshot: the layer below keeps its size and its bitmap.
    /// </remarks>
    /// <param name="chain">The disk's chain.</param>
    /// <param name="name">The checkpoint's bitmap.</param>
    public static string? OtherSize(NodeChain chain, string name)
    {
        var other = chain.Layers.FirstOrDefault(layer =>
            layer.FindBitmap(name) is not null && layer.VirtualSize != chain.Top.VirtualSize);
        return other is null ? null : $"bitmap '{name}' on node '{other.Name}' is for {other.VirtualSize} bytes, and "
            + $"the disk has {chain.Top.VirtualSize} since it was resized across a snapshot";
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
    /// <param name="targetNode">The node that gets the temporary bitmap: the disk's own in push mode, the scratch in
    /// pull mode.</param>
    /// <param name="targetName">The temporary bitmap's name.</param>
    /// <returns>The two actions; none when the chain is not valid by R1.</returns>
    public static IReadOnlyList<TransactionAction> Merge(
        NodeChain chain, string name, string targetNode, string targetName)
    {
        var verdict = Validate(chain, name);
        return verdict.IsValid ? MergeOne(verdict.Layers, name, targetNode, targetName, isTemporary: true, null) : [];
    }

    /// <summary>R2, merge, to learn how much was written since a checkpoint.</summary>
    /// <remarks>The hypervisor counts the bits of a bitmap, not of a union: the union is made for a moment. Without it
    /// the sizes of layers would be added up, and a cluster written in two layers counted twice.</remarks>
    /// <param name="chain">The disk's chain.</param>
    /// <param name="name">The checkpoint's bitmap.</param>
    public static IReadOnlyList<TransactionAction> Size(NodeChain chain, string name) =>
        Merge(chain, name, chain.Top.Name, SizeName);

    /// <summary>
    /// R3, commit, when the job has ended: what the layers from <paramref name="top"/> to above
    /// <paramref name="baseNode"/> recorded is merged into the base, which now holds their data.
    /// </summary>
    /// <remarks>
    /// Why: after the commit the base answers for what the layers above held; a checkpoint whose bitmap stayed in a
    /// layer that is gone would have a hole, and the next increment would leave out what was written before the commit.
    /// A bitmap that the base has already gets the bits added, one that it lacks is made there, recording. An active
    /// commit adds what the guest wrote to the base while the job ran. A raw base keeps no bitmaps: nothing is done,
    /// and the checkpoint ends with the commit.
    /// </remarks>
    /// <param name="chain">The disk's chain.</param>
    /// <param name="top">The topmost layer that is committed; the active layer when it is the chain's top.</param>
    /// <param name="baseNode">The layer that gets the data.</param>
    /// <exception cref="ArgumentException">They are not layers of the chain in that order.</exception>
    public static IReadOnlyList<TransactionAction> Commit(NodeChain chain, string top, string baseNode)
    {
        var (from, to) = Between(chain, top, baseNode);
        var target = chain.Layers[to];
        return ChangeRule.IsRaw(target)
            ? []
            : MergeAll(chain, from, to, target.Name, target, from == 0 ? target.Name : null);
    }

    /// <summary>
    /// R3, copy, when the job has ended: what the copied layers recorded is merged into the mirror, with what the guest
    /// wrote to the mirror while the job ran.
    /// </summary>
    /// <remarks>
    /// Why: the mirror takes the disk's place; without the bitmaps every checkpoint ends there. A shallow copy holds
    /// only the active layer's data, over the old backing chain that keeps its own bitmaps; merging those too would not
    /// lose a write, but mark what the mirror does not hold. A raw mirror keeps no bitmaps: nothing is done.
    /// </remarks>
    /// <param name="chain">The disk's chain.</param>
    /// <param name="mirror">The new node.</param>
    /// <param name="shallow">Whether only the active layer was copied.</param>
    public static IReadOnlyList<TransactionAction> Copy(NodeChain chain, GraphNode mirror, bool shallow) =>
        ChangeRule.IsRaw(mirror)
            ? []
            : MergeAll(chain, 0, shallow ? 1 : chain.Layers.Count, mirror.Name, mirror, mirror.Name);

    /// <summary>
    /// R3, stream, when the job has ended: what the layers that were pulled into <paramref name="top"/> recorded is
    /// merged into its own bitmaps.
    /// </summary>
    /// <remarks>
    /// Why: the layers in between leave the chain and their bitmaps with them; what was written before the snapshot
    /// would be missing in the next increment. The bitmap itself stands among the sources, which does no harm. The
    /// guest writes only to the top, whose own bitmap records it.
    /// </remarks>
    /// <param name="chain">The disk's chain.</param>
    /// <param name="top">The layer that got the data.</param>
    /// <param name="baseNode">The layer that stays below it; null when none does.</param>
    /// <exception cref="ArgumentException">They are not layers of the chain in that order.</exception>
    public static IReadOnlyList<TransactionAction> Stream(NodeChain chain, string top, string? baseNode)
    {
        var (from, to) = Between(chain, top, baseNode);
        return MergeAll(chain, from, to, top, chain.Layers[from], null);
    }

    /// <summary>R4, delete: every layer that carries the bitmap, valid or not, top first.</summary>
    /// <remarks>Why regardless of validity: an inconsistent bitmap can be removed and nothing else. Why independent of
    /// other checkpoints: each bitmap records by itself, so none is merged into another. Why on every layer: one that
    /// stays below would be taken for part of a later checkpoint of that name.</remarks>
    public static IReadOnlyList<BitmapReference> Delete(NodeChain chain, string name) =>
    [
        .. chain.Layers.Where(layer => layer.FindBitmap(name) is not null)
            .Select(layer => new BitmapReference(layer.Name, name)),
    ];

    /// <summary>R4: the layers that must be opened for writing before <see cref="Delete"/>, bottom first: all that
    /// carry the bitmap but the active layer.</summary>
    /// <remarks>Why: a layer below the active one is open read-only, and removing a bitmap changes its image.</remarks>
    public static IReadOnlyList<string> Reopened(NodeChain chain, string name) =>
    [
        .. chain.Layers.Skip(1).Where(layer => layer.FindBitmap(name) is not null).Select(layer => layer.Name)
            .Reverse(),
    ];

    /// <summary>
    /// R5, snapshot: each bitmap of the active layer that a checkpoint can be (persistent, recording, consistent) is
    /// made anew on the overlay, empty and with the same granularity, in the transaction that puts the overlay on top.
    /// </summary>
    /// <remarks>
    /// Why: from that instant the guest writes to the overlay; a checkpoint that is not continued there has a gap at
    /// the top, and is worthless. Why in the same transaction: a write in between would be in neither. Why empty: what
    /// was written before stays in the layer below, where its bitmap stays as it is. A bitmap that is worthless already
    /// is not continued, or it would look valid again.
    /// </remarks>
    /// <param name="chain">The disk's chain.</param>
    /// <param name="overlay">The new active layer.</param>
    public static IReadOnlyList<TransactionAction> Snapshot(NodeChain chain, string overlay) =>
    [
        .. chain.Top.Bitmaps
            .Where(bitmap => Refuse(bitmap) is null)
            .Select(bitmap => new BitmapAdd(
                overlay, bitmap.Name, Persistent: true, Disabled: false, bitmap.Granularity)),
        new NodeSnapshot(chain.Top.Name, overlay),
    ];

    /// <summary>R6, create: a persistent, recording bitmap on the active layer.</summary>
    /// <remarks>Why the active layer: nothing else is written. Why persistent: otherwise the next start of the
    /// hypervisor loses it and with it the next increment.</remarks>
    /// <param name="chain">The disk's chain.</param>
    /// <param name="name">The checkpoint's bitmap.</param>
    /// <param name="granularity">Bytes per bit; null for the hypervisor's own choice.</param>
    public static BitmapAdd Create(NodeChain chain, string name, long? granularity) =>
        new(chain.Top.Name, name, Persistent: true, Disabled: false, granularity);

    /// <summary>
    /// R7, migration: each valid bitmap of a disk whose storage is migrated is merged into one on the active layer,
    /// which goes to the destination under the alias <c>libvirt-DISK-BITMAP</c>.
    /// </summary>
    /// <remarks>
    /// Why merged: at the destination there is one layer. Why recording: the guest writes on while it migrates. A
    /// bitmap that the destination has already is left out, because it would be overwritten; a destination of qcow2
    /// version 2 keeps none.
    /// </remarks>
    /// <param name="chain">The disk's chain at the source.</param>
    /// <param name="disk">The disk's target, for example <c>vda</c>.</param>
    /// <param name="destination">The disk's node at the destination, with the bitmaps that it has.</param>
    public static IReadOnlyList<TransactionAction> Migrate(NodeChain chain, string disk, GraphNode destination)
    {
        List<TransactionAction> actions = [];
        foreach (var bitmap in destination.Compat == "0.10" ? [] : chain.Top.Bitmaps.Reverse())
        {
            if (destination.FindBitmap(bitmap.Name) is null && Validate(chain, bitmap.Name) is { IsValid: true } valid)
            {
                actions.AddRange(MergeOne(
                    valid.Layers,
                    bitmap.Name,
                    chain.Top.Name,
                    $"{MigrationPrefix}libvirt-{disk}-{bitmap.Name}",
                    isTemporary: false,
                    null));
            }
        }

        return actions;
    }

    // The positions of two layers, the second of them the end of the chain where there is no base.
    private static (int From, int To) Between(NodeChain chain, string top, string? baseNode)
    {
        var from = IndexOf(chain, top);
        var to = baseNode is null ? chain.Layers.Count : IndexOf(chain, baseNode);
        return from < to
            ? (from, to)
            : throw new ArgumentException($"node '{baseNode}' is not below '{top}' in the chain", nameof(baseNode));
    }

    private static int IndexOf(NodeChain chain, string name)
    {
        for (var index = 0; index < chain.Layers.Count; index++)
        {
            if (chain.Layers[index].Name == name)
            {
                return index;
            }
        }

        throw new ArgumentException($"node '{name}' is no layer of the chain", nameof(name));
    }

    // R2 for all bitmaps that are valid from a layer down, in the reverse of the hypervisor's order, from the layers
    // before 'to'. A bitmap that is not valid is passed over: copying it would make it look as if it were.
    private static List<TransactionAction> MergeAll(
        NodeChain chain, int from, int to, string targetNode, GraphNode target, string? writeNode)
    {
        var below = new NodeChain([.. chain.Layers.Skip(from)], chain.Gap);
        List<TransactionAction> actions = [];
        foreach (var bitmap in below.Top.Bitmaps.Reverse())
        {
            if (Validate(below, bitmap.Name) is { IsValid: true } valid)
            {
                actions.AddRange(MergeOne(
                    [.. valid.Layers.Take(to - from)],
                    bitmap.Name,
                    targetNode,
                    target.FindBitmap(bitmap.Name) is null ? bitmap.Name : null,
                    isTemporary: false,
                    writeNode));
            }
        }

        if (writeNode is not null)
        {
            actions.Add(new BitmapRemove(writeNode, ActiveWriteName));
        }

        return actions;
    }

    // A new bitmap, unless no name is given for one, and the merge of all layers into it.
    private static List<TransactionAction> MergeOne(
        IReadOnlyList<GraphNode> layers,
        string name,
        string targetNode,
        string? newName,
        bool isTemporary,
        string? writeNode)
    {
        List<TransactionAction> actions = [];
        if (newName is not null)
        {
            var granularity = layers[0].FindBitmap(name)!.Granularity;
            actions.Add(new BitmapAdd(
                targetNode, newName, Persistent: !isTemporary, Disabled: isTemporary, granularity));
        }

        List<BitmapReference> sources = [.. layers.Select(layer => new BitmapReference(layer.Name, name))];
        if (writeNode is not null)
        {
            sources.Add(new BitmapReference(writeNode, ActiveWriteName));
        }

        actions.Add(new BitmapMerge(targetNode, newName ?? name, sources));
        return actions;
    }

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
