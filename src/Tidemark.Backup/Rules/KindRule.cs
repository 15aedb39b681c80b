// Decides which disks may be read incrementally: the one decision after which clusters are *not* copied.
//
// Claim: when this rule says "incremental", every byte of the disk outside the merged bitmap equals the parent restore
// point's byte. Proof, by the life of the checkpoint's bitmap B with its name that no other run ever uses:
//
//   1. The parent's run added B, empty and recording, to this disk's active layer in the same transaction whose instant
//      its restore point shows. So at that instant: disk == restore point, B == {}. The parent's description (in *this*
//      repository, so the restore point is the one inherited from) records B's name for this very disk. The name holds
//      a random 64-bit run id and the disk's number in the run, so a bitmap of that name exists on no other disk, even
//      if nodes, names or files of two disks were exchanged since.
//   2. The hypervisor sets bits no later than it reports a write complete. Through snapshots, the layers that carry B
//      are contiguous from the top, all recording (R1): at each instant since, the layer that was written had B.
//   3. B is persistent and not inconsistent: it was carried over every restart by a clean close. A crash makes it
//      inconsistent (it was stored before) or lets it disappear (it was not): both end here as "re-read".
//   4. B is merged in the new point's own transaction, so it is complete up to exactly that instant.
//   5. Sizes are equal, so no byte exists that neither B nor the parent knows.
//
// What no rule over bitmaps can see: a disk that was shrunk and grown again between two backups has the same size,
// reads as zeroes in the regrown part, and QEMU marks nothing (measured with 7.2: block_resize leaves the count at 0).
// The pull reader therefore compares clean chunks that the disk reports as holes with the parent, and reads the whole
// disk when one differs. A push has no such view, and nothing that a monitor answers tells of a past resize: it
// inherits the parent's chunks in the regrown part, which is wrong. What else no bitmap can tell is listed in
// docs/design/006-what-the-bitmap-cannot-tell.md.
//
// Everything else, known or not, is read whole. That costs time, never data: equal chunks are found by their hash.

using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Planning;

namespace Tidemark.Backup.Rules;

/// <summary>The identity rule: whether a disk may be read incrementally.</summary>
public static class KindRule
{
    /// <summary>Decides for one disk.</summary>
    /// <param name="full">Whether the user asked for a full backup.</param>
    /// <param name="chain">The disk's backing chain.</param>
    /// <param name="parent">The restore point of the disk in this repository to build on; null when there is
    /// none.</param>
    public static KindDecision Decide(bool full, NodeChain chain, ParentDisk? parent)
    {
        if (full)
        {
            return new KindDecision(DiskKind.Full, "a full backup was asked for");
        }

        if (parent is null)
        {
            return new KindDecision(DiskKind.Full, "the repository holds no restore point of this disk yet");
        }

        return ReasonToReRead(chain, parent) is { } reason
            ? new KindDecision(DiskKind.ReRead, reason)
            : new KindDecision(DiskKind.Incremental, "");
    }

    /// <summary>Why a node cannot keep a checkpoint's bitmap in its image, or null when it can.</summary>
    public static string? RefuseCheckpoint(GraphNode node)
    {
        if (node.Driver != "qcow2")
        {
            return $"node '{node.Name}' is {node.Driver}, which cannot keep a dirty bitmap";
        }

        // docs/interop/qcow2.txt: bitmaps are a header extension of version 3, which QEMU calls compat 1.1.
        if (node.Compat == "0.10")
        {
            return $"node '{node.Name}' is qcow2 version 2, which cannot keep a dirty bitmap";
        }

        return node.IsReadOnly ? $"node '{node.Name}' is read-only and cannot keep a dirty bitmap" : null;
    }

    private static string? ReasonToReRead(NodeChain chain, ParentDisk parent)
    {
        if (parent.Size != chain.Top.VirtualSize)
        {
            return $"the disk's size changed from {parent.Size} to {chain.Top.VirtualSize} bytes";
        }

        if (parent.Unusable is { } unusable)
        {
            return unusable;
        }

        if (parent.BitmapName is not { } name)
        {
            return RefuseCheckpoint(chain.Top)
                ?? $"restore point {Short(parent.SnapshotId)} left no bitmap on this disk";
        }

        var verdict = BitmapChain.Validate(chain, name);
        if (!verdict.IsValid)
        {
            return verdict.Reason;
        }

        foreach (var layer in verdict.Layers)
        {
            var bitmap = layer.FindBitmap(name)!;
            if (bitmap.IsBusy)
            {
                return $"bitmap '{name}' on node '{layer.Name}' is in use by another operation";
            }

            if (layer.VirtualSize != parent.Size)
            {
                return $"layer '{layer.Name}' of the disk has another size ({layer.VirtualSize} bytes)";
            }
        }

        var granularity = verdict.Layers[0].FindBitmap(name)!.Granularity;
        if (granularity != parent.Granularity)
        {
            return $"bitmap '{name}' has a granularity of {granularity} bytes, not the {parent.Granularity} it was "
                + "made with";
        }

        return parent.ChunkSize % granularity != 0
            ? $"the chunk size {parent.ChunkSize} is no multiple of the bitmap's granularity {granularity}"
            : null;
    }

    private static string Short(string id) => id.Length > 8 ? id[..8] : id;
}
