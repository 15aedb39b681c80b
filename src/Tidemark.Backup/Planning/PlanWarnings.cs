using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;

namespace Tidemark.Backup.Planning;

/// <summary>What a guest, or the user of the backup, may feel of it: said before it begins.</summary>
internal static class PlanWarnings
{
    /// <summary>The warnings of a backup.</summary>
    internal static List<string> Of(
        DomainBackupRequest request,
        BackupDefinition backup,
        IReadOnlyList<DomainPlannedDisk> disks,
        HypervisorCapabilities capabilities)
    {
        List<string> warnings = [];
        foreach (var disk in disks)
        {
            if (disk.Image.Labels.Count > 0)
            {
                warnings.Add($"disk '{disk.Name}': seclabel is kept in the definition and not applied to the file");
            }

            if (disk.Encryption is not null && !request.ReuseExternal)
            {
                warnings.Add($"disk '{disk.Name}': for the encrypted image the hypervisor derives a key, which takes "
                    + "some seconds of a processor; it answers nobody meanwhile, and the guest's disks may stand "
                    + "still");
            }

            if (backup.Mode == BackupMode.Push && disk.Mode == DiskBackupMode.Incremental)
            {
                warnings.Add($"disk '{disk.Name}': {AboutIncrement(disk, request.ReuseExternal)}");
            }

            if (backup.Mode == BackupMode.Pull && disk.Kind == ImageKind.Block && !capabilities.BreaksSnapshot)
            {
                warnings.Add($"disk '{disk.Name}': the room on the device '{disk.Image.Path}' is not watched; when it "
                    + $"is used up, writes of the guest fail. {BackupLimits.LargestScratch(disk.Size)} bytes are "
                    + "enough for the whole disk");
            }
        }

        if (!capabilities.BreaksSnapshot)
        {
            warnings.Add(backup.Mode == BackupMode.Pull
                ? "pull: this hypervisor cannot be told to give up the backup rather than a guest write whose old data "
                    + "the scratch cannot take; while somebody follows it, the free space of the scratch's file system "
                    + "is watched instead"
                : "push: this hypervisor cannot be told to give up the backup rather than a guest write: while the job "
                    + "runs, a write waits until the old data is in the target, and may fail once when it cannot be");
        }

        return warnings;
    }

    // An increment alone is no disk: with what it becomes one.
    private static string AboutIncrement(DomainPlannedDisk disk, bool reusesExternal) =>
        (disk.Format, reusesExternal) switch
        {
            ("raw", false) => "a raw target of an increment does not say which zeroes are data. With --reuse-external "
                + $"it can be a copy of the backup taken at checkpoint '{disk.Since}', and is the whole disk then",
            ("raw", true) => "the target is written over where the disk has changed: it is the disk at this instant "
                + $"only if it held the backup taken at checkpoint '{disk.Since}'",
            (_, true) => "the target is the disk at this instant only over the backup taken at checkpoint "
                + $"'{disk.Since}', which its header must name as its backing file",
            _ => "the target's header names no backing file; put the backup taken at checkpoint "
                + $"'{disk.Since}' under it before it is read: qemu-img rebase -u -F qcow2 -b FILE",
        };
}
