using Tidemark.Backup.Actions;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Rules;

namespace Tidemark.Backup.Planning;

/// <summary>Which checkpoints may be created.</summary>
internal static class CheckpointRule
{
    // What QEMU takes as a granularity (block/dirty-bitmap.c).
    private const long MinimumGranularity = 512;
    private const long MaximumGranularity = 1L << 31;

    // Names that this program, or libvirt, gives to bitmaps that live for one operation.
    private static readonly string[] s_reserved = ["libvirt-tmp-", "libvirt-migration-"];

    /// <summary>Why a checkpoint of that definition may not be created, or null when it may.</summary>
    internal static PlanConflict? RefuseDefinition(
        CheckpointDefinition? checkpoint, IReadOnlyDictionary<string, CheckpointDefinition>? known)
    {
        if (checkpoint?.Name is not { } name)
        {
            return null;
        }

        if (known?.ContainsKey(name) == true)
        {
            return new PlanConflict($"domain moment {name} already exists", "Give the checkpoint another name")
            {
                Bitmap = name,
                Class = ErrorClass.OperationFailed,
            };
        }

        var isReserved = s_reserved.Any(prefix => name.StartsWith(prefix, StringComparison.Ordinal))
            || RunNames.RunOfTemporary(name) is not null || RunNames.RunOfCheckpoint(name) is not null;
        return isReserved
            ? new PlanConflict($"checkpoint name '{name}' is reserved for temporary bitmaps", "Give it another name")
            {
                Bitmap = name,
                Class = ErrorClass.InvalidArgument,
            }
            : null;
    }

    /// <summary>Why a granularity cannot be, or null when it can or none is asked for.</summary>
    internal static PlanConflict? RefuseGranularity(long? granularity) =>
        granularity is not { } given
            || (given is >= MinimumGranularity and <= MaximumGranularity && (given & (given - 1)) == 0)
            ? null
            : new PlanConflict(
                $"a granularity of {given} bytes is not possible",
                $"Give a power of two from {MinimumGranularity} to {MaximumGranularity}")
            {
                Class = ErrorClass.InvalidArgument,
            };

    /// <summary>Leaves out the disks that cannot keep a bitmap. One that was asked for by its name stays, and is
    /// refused.</summary>
    /// <param name="checkpoint">The checkpoint of all disks, everything filled in.</param>
    /// <param name="disks">The virtual machine's disks.</param>
    /// <param name="graph">The hypervisor's graph.</param>
    /// <param name="notes">Takes what is left out, and why.</param>
    internal static CheckpointDefinition LeaveOut(
        CheckpointDefinition checkpoint, IReadOnlyList<DomainDisk> disks, GraphSnapshot graph, List<string> notes)
    {
        return checkpoint with { Disks = [.. checkpoint.Disks!.Select(Part)] };

        CheckpointDisk Part(CheckpointDisk disk)
        {
            var owner = disks.First(candidate => candidate.Name == disk.Name);
            if (disk.HasBitmap != true || DomainNodes.Find(graph, owner, out _) is not { } node
                || KindRule.RefuseCheckpoint(node) is not { } reason)
            {
                return disk;
            }

            notes.Add($"checkpoint '{checkpoint.Name}': disk '{disk.Name}' takes no part: {reason}");
            return new CheckpointDisk(disk.Name) { HasBitmap = false };
        }
    }

    /// <summary>R6 for each disk that takes part: one bitmap on each active layer.</summary>
    /// <param name="checkpoint">The checkpoint, everything filled in.</param>
    /// <param name="disks">The virtual machine's disks.</param>
    /// <param name="graph">The hypervisor's graph.</param>
    /// <param name="granularity">Bytes per bit; null for the hypervisor's own choice.</param>
    /// <param name="bitmaps">Takes the actions.</param>
    internal static PlanConflict? PlanBitmaps(
        CheckpointDefinition checkpoint,
        IReadOnlyList<DomainDisk> disks,
        GraphSnapshot graph,
        long? granularity,
        List<BitmapAdd> bitmaps)
    {
        var name = checkpoint.Name!;
        if (RefuseGranularity(granularity) is { } impossible)
        {
            return impossible;
        }

        foreach (var disk in checkpoint.Disks!.Where(disk => disk.HasBitmap == true))
        {
            PlanConflict Refuse(string reason, string advice, GraphNode? node) => new(reason, advice)
            {
                Disk = disk.Name,
                Node = node?.Name,
                Bitmap = name,
                Class = ErrorClass.Unsupported,
            };

            var owner = disks.First(candidate => candidate.Name == disk.Name);
            if (DomainNodes.Find(graph, owner, out var problem) is not { } node)
            {
                return Refuse(problem, "Name the disk's node", null);
            }

            if (KindRule.RefuseCheckpoint(node) is { } reason)
            {
                return Refuse(
                    $"checkpoint for disk {disk.Name} unsupported for storage type {node.Driver}: {reason}",
                    $"Leave it out: <disk name='{disk.Name}' checkpoint='no'/>",
                    node);
            }

            // A bitmap of that name anywhere in the chain would be taken for this checkpoint's later.
            if (BitmapChain.Delete(graph.ChainOf(node), name) is [var taken, ..])
            {
                return Refuse(
                    $"bitmap '{name}' is on node '{taken.Node}' of disk '{disk.Name}' already",
                    "Give the checkpoint another name",
                    node);
            }

            bitmaps.Add(BitmapChain.Create(graph.ChainOf(node), name, granularity));
        }

        if (bitmaps.Count == 0)
        {
            return new PlanConflict("no disk takes part in the checkpoint", "Say checkpoint='bitmap' for one")
            {
                Bitmap = name,
                Class = ErrorClass.Unsupported,
            };
        }

        return bitmaps.Select(add => add.Node).Distinct().Count() == bitmaps.Count ? null
            : new PlanConflict("two disks of the checkpoint have the same node", "Name each node once")
            {
                Bitmap = name,
                Class = ErrorClass.Unsupported,
            };
    }
}
