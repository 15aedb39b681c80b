using System.Globalization;

namespace Tidemark.Backup.Definitions;

/// <summary>Fills in what a <see cref="CheckpointDefinition"/> leaves open.</summary>
public static class CheckpointAlignment
{
    /// <summary>Fills in name, time, parent, and every disk of the virtual machine in its order.</summary>
    /// <param name="checkpoint">What was asked for.</param>
    /// <param name="disks">The virtual machine's disks in their order.</param>
    /// <param name="creationTime">Now, in seconds since 1970; the name too when none is given.</param>
    /// <param name="parent">The current checkpoint, which becomes the parent; null when there is none.</param>
    /// <exception cref="BackupException">It does not fit the virtual machine; <see cref="BackupException.Class"/> says
    /// how.</exception>
    public static CheckpointDefinition Align(
        CheckpointDefinition checkpoint, IReadOnlyList<DomainDisk> disks, long creationTime, string? parent)
    {
        var name = checkpoint.Name ?? creationTime.ToString(CultureInfo.InvariantCulture);
        return checkpoint with
        {
            Name = name,
            CreationTime = creationTime,
            Parent = parent,
            Domain = null,
            Disks = AlignDisks(checkpoint.Disks, disks, name),
        };
    }

    /// <summary>Fills in the disks of a checkpoint that was made before: a redefinition, which says itself when it was
    /// made and after which.</summary>
    /// <exception cref="BackupException">It lacks what a redefinition must say, or does not fit the virtual
    /// machine.</exception>
    public static CheckpointDefinition AlignRedefinition(
        CheckpointDefinition checkpoint, IReadOnlyList<DomainDisk> disks)
    {
        if (checkpoint.Name is not { } name)
        {
            throw ErrorClass.Unsupported.ToException("a redefined checkpoint must have a name");
        }

        if (checkpoint.CreationTime is null)
        {
            throw ErrorClass.Unsupported.ToException("missing creationTime from existing checkpoint");
        }

        if (checkpoint.Parent == name)
        {
            throw ErrorClass.Unsupported.ToException($"cannot set moment {name} as its own parent");
        }

        return checkpoint with { Disks = AlignDisks(checkpoint.Disks, disks, name) };
    }

    private static CheckpointDisk[] AlignDisks(
        IReadOnlyList<CheckpointDisk>? listed, IReadOnlyList<DomainDisk> disks, string name)
    {
        if (disks.Count == 0)
        {
            throw ErrorClass.Unsupported.ToException("domain must have at least one disk to perform checkpoints");
        }

        if (listed is not null && listed.Count > disks.Count)
        {
            throw ErrorClass.Unsupported.ToException("too many disk checkpoint requests for domain");
        }

        var aligned = new CheckpointDisk?[disks.Count];
        foreach (var disk in listed ?? [])
        {
            var index = IndexOf(disks, disk.Name);
            var owner = disks[index];
            if (aligned[index] is not null)
            {
                throw ErrorClass.Unsupported.ToException($"disk '{owner.Name}' specified twice");
            }

            aligned[index] = AlignDisk(disk, owner, name);
        }

        for (var index = 0; index < disks.Count; index++)
        {
            aligned[index] ??= listed is null && disks[index] is { HasMedium: true, IsReadOnly: false }
                ? new CheckpointDisk(disks[index].Name) { HasBitmap = true, Bitmap = name }
                : new CheckpointDisk(disks[index].Name) { HasBitmap = false };
        }

        return aligned!;
    }

    private static CheckpointDisk AlignDisk(CheckpointDisk disk, DomainDisk owner, string name)
    {
        if (disk.HasBitmap == false)
        {
            return new CheckpointDisk(owner.Name) { HasBitmap = false };
        }

        if (owner is { HasMedium: false } or { IsReadOnly: true })
        {
            throw ErrorClass.Unsupported.ToException($"disk '{owner.Name}' is empty or readonly");
        }

        if (disk.Bitmap is { } bitmap && bitmap != name)
        {
            throw ErrorClass.Unsupported.ToException(
                $"bitmap for disk '{owner.Name}' must match checkpoint name '{name}'");
        }

        // A size is what a bitmap holds when it is asked; none that is written in a definition is taken over.
        return disk with { Name = owner.Name, HasBitmap = true, Bitmap = name, Size = null };
    }

    // By the target's name, or by an image's path that only one disk has.
    private static int IndexOf(IReadOnlyList<DomainDisk> disks, string name)
    {
        var found = -1;
        for (var index = 0; index < disks.Count; index++)
        {
            if (disks[index].Name == name)
            {
                return index;
            }

            if (name.StartsWith('/') && disks[index].Path == name)
            {
                found = found < 0 ? index : throw ErrorClass.Unsupported.ToException(
                    $"no disk named '{name}': the image belongs to '{disks[found].Name}' and '{disks[index].Name}'");
            }
        }

        return found >= 0 ? found : throw ErrorClass.Unsupported.ToException($"no disk named '{name}'");
    }
}
