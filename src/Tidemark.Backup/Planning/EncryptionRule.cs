using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;

namespace Tidemark.Backup.Planning;

/// <summary>Which images a backup may encrypt: those whose key is at hand, at a hypervisor that can keep one. What is
/// to be encrypted is never written in clear: it is encrypted or refused.</summary>
internal static class EncryptionRule
{
    /// <summary>Why a disk's image cannot be encrypted as it should be; null when it can, or need not.</summary>
    internal static PlanConflict? Refuse(
        BackupDisk disk, DomainBackupRequest request, HypervisorCapabilities capabilities)
    {
        if (disk.Image?.Encryption is not { } encryption)
        {
            return null;
        }

        if (!capabilities.Has("object-add") || !capabilities.Has("object-del"))
        {
            return new PlanConflict(
                $"disk '{disk.Name}': this hypervisor has no object-add, so it cannot encrypt an image",
                "Leave <encryption> out, or use a QEMU that has it: all but the storage daemon of 5.2 do")
            {
                Disk = disk.Name,
                Class = ErrorClass.OperationUnsupported,
            };
        }

        return FileOf(encryption, request) is not null ? null : new PlanConflict(
            $"disk '{disk.Name}': nothing says where the key of secret '{NameOf(encryption)}' is",
            $"Name its file with --secret-file {NameOf(encryption)}=FILE")
        {
            Disk = disk.Name,
            Class = ErrorClass.InvalidArgument,
        };
    }

    /// <summary>Why the keys that were named do not fit the backup: one is nobody's. Null when they do.</summary>
    internal static PlanConflict? RefuseUnused(DomainBackupRequest request)
    {
        var used = (request.Backup.Disks ?? []).Where(disk => disk.IsIncluded && disk.Image?.Encryption is not null)
            .Select(disk => NameOf(disk.Image!.Encryption!)).ToHashSet(StringComparer.Ordinal);
        return request.SecretFiles.Keys.FirstOrDefault(name => !used.Contains(name)) is { } unused
            ? new PlanConflict(
                $"secret '{unused}' is no image's of this backup",
                "Leave --secret-file out, or name the secret by the uuid or usage that <secret> has")
            {
                Class = ErrorClass.InvalidArgument,
            }
            : null;
    }

    /// <summary>The encryption of a disk that <see cref="Refuse"/> has let pass; null for in clear.</summary>
    internal static PlannedEncryption? Plan(BackupDisk disk, DomainBackupRequest request, int ordinal) =>
        disk.Image?.Encryption is { } encryption
            ? new PlannedEncryption(
                new RunNames(request.RunId).Secret(ordinal), FileOf(encryption, request)!, encryption)
            : null;

    // The definition has one of the two; a UUID is in lower case there.
    private static string NameOf(ImageEncryption encryption) => encryption.Secret.Uuid ?? encryption.Secret.Usage!;

    private static string? FileOf(ImageEncryption encryption, DomainBackupRequest request) =>
        request.SecretFiles.GetValueOrDefault(NameOf(encryption));
}
