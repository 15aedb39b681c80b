// What a backup's XML leaves open is filled in from the virtual machine's disks, in libvirt's order and with its words:
// which disks take part, whether each is full or incremental and since when, and where it goes.

namespace Tidemark.Backup.Definitions;

/// <summary>Fills in what a <see cref="BackupDefinition"/> leaves open.</summary>
public static class BackupAlignment
{
    /// <summary>Fills in every default that depends on the virtual machine.</summary>
    /// <param name="backup">What was asked for.</param>
    /// <param name="disks">The virtual machine's disks in their order.</param>
    /// <param name="suffix">What is put behind an image's path, with a dot, to name a file: the checkpoint's name, or
    /// the seconds since 1970 when there is no checkpoint.</param>
    /// <returns>The same with all disks of the virtual machine, those that do not take part included.</returns>
    /// <exception cref="BackupException">It does not fit the virtual machine; <see cref="BackupException.Class"/> says
    /// how.</exception>
    public static BackupDefinition Align(BackupDefinition backup, IReadOnlyList<DomainDisk> disks, string suffix)
    {
        if (disks.Count == 0)
        {
            throw ErrorClass.Unsupported.ToException("domain must have at least one disk to perform backup");
        }

        List<BackupDisk> aligned = [];
        HashSet<string> seen = new(StringComparer.Ordinal);
        foreach (var disk in backup.Disks ?? [])
        {
            var owner = disks.FirstOrDefault(candidate => candidate.Name == disk.Name)
                ?? throw ErrorClass.Unsupported.ToException($"no disk named '{disk.Name}'");
            if (!seen.Add(disk.Name))
            {
                throw ErrorClass.Unsupported.ToException($"disk '{disk.Name}' specified twice");
            }

            aligned.Add(disk.IsIncluded ? AlignDisk(backup, disk, owner, suffix) : Excluded(disk.Name));
        }

        foreach (var owner in disks)
        {
            if (!seen.Contains(owner.Name))
            {
                var takesPart = backup.Disks is null && owner is { HasMedium: true, IsReadOnly: false };
                aligned.Add(takesPart
                    ? AlignDisk(backup, new BackupDisk(owner.Name), owner, suffix)
                    : Excluded(owner.Name));
            }
        }

        return backup with { Disks = aligned };
    }

    /// <summary>Fills in what the hypervisor is told besides: the images' format and the exports' names. This is what a
    /// running backup shows.</summary>
    /// <param name="backup">An aligned backup.</param>
    public static BackupDefinition Complete(BackupDefinition backup) => backup with
    {
        Disks = [.. (backup.Disks ?? []).Select(disk => !disk.IsIncluded ? disk : disk with
        {
            Format = disk.Format ?? "qcow2",
            ExportName = backup.Mode == BackupMode.Pull ? disk.ExportName ?? disk.Name : null,
            ExportBitmap = backup.Mode == BackupMode.Pull && disk.Mode == DiskBackupMode.Incremental
                ? disk.ExportBitmap ?? $"backup-{disk.Name}"
                : disk.ExportBitmap,
        })],
    };

    private static BackupDisk Excluded(string name) => new(name) { IsIncluded = false };

    private static BackupDisk AlignDisk(BackupDefinition backup, BackupDisk disk, DomainDisk owner, string suffix)
    {
        if (!owner.HasMedium)
        {
            throw ErrorClass.Unsupported.ToException($"disk '{disk.Name}' has no media");
        }

        var since = disk.Incremental ?? backup.Incremental;
        var mode = disk.Mode ?? (since is null ? DiskBackupMode.Full : DiskBackupMode.Incremental);
        if (mode == DiskBackupMode.Incremental && since is null)
        {
            throw ErrorClass.Unsupported.ToException(
                $"'incremental' backup mode of disk '{disk.Name}' requires setting 'incremental' field for disk or "
                + "backup");
        }

        if (disk.Image is null && (owner.Kind != ImageKind.File || owner.Path.Length == 0))
        {
            throw ErrorClass.Unsupported.ToException(
                $"refusing to generate file name for disk '{disk.Name}': its image is no file with a full path"
                + (owner.Path.Length == 0 ? "" : $" ('{owner.Path}')")
                + "; say where with <target file='…'/> (push) or <scratch file='…'/> (pull)");
        }

        return disk with
        {
            Mode = mode,
            Incremental = mode == DiskBackupMode.Incremental ? since : null,
            Kind = disk.Image is null ? ImageKind.File : disk.Kind ?? ImageKind.File,
            Image = disk.Image ?? new BackupImage($"{owner.Path}.{suffix}"),
        };
    }
}
