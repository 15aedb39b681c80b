using Tidemark.Backup.Actions;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;

namespace Tidemark.Backup.Planning;

/// <summary>What a plan does with one disk of a virtual machine.</summary>
public sealed record DomainPlannedDisk
{
    /// <summary>The disk's number in the run, from zero.</summary>
    public required int Ordinal { get; init; }

    /// <summary>The disk's target, for example <c>vda</c>.</summary>
    public required string Name { get; init; }

    /// <summary>The disk's backing chain; its top is the disk's own node.</summary>
    public required NodeChain Chain { get; init; }

    /// <summary>The disk's own node: the active layer.</summary>
    public string NodeName => Chain.Top.Name;

    /// <summary>The size of the disk in bytes.</summary>
    public long Size => Chain.Top.VirtualSize;

    /// <summary>What of the disk is read.</summary>
    public required DiskBackupMode Mode { get; init; }

    /// <summary>The checkpoint since which; null for a full backup.</summary>
    public string? Since { get; init; }

    /// <summary>Why it is read otherwise than was asked for; empty when it is not.</summary>
    public string Reason { get; init; } = "";

    /// <summary>The target (push) or scratch (pull).</summary>
    public required BackupImage Image { get; init; }

    /// <summary>What the image lies on.</summary>
    public required ImageKind Kind { get; init; }

    /// <summary>The image's format: <c>qcow2</c> or <c>raw</c>.</summary>
    public required string Format { get; init; }

    /// <summary>How the image is encrypted; null for in clear.</summary>
    public PlannedEncryption? Encryption { get; init; }

    /// <summary>The hypervisor's node for the image: what the job writes to, and what a pull exports.</summary>
    public required string ImageNode { get; init; }

    /// <summary>The node under it.</summary>
    public required string StorageNode { get; init; }

    /// <summary>The backup job.</summary>
    public required string JobId { get; init; }

    /// <summary>The export's id (pull); null in push mode.</summary>
    public string? ExportId { get; init; }

    /// <summary>The export's NBD name (pull); null in push mode.</summary>
    public string? ExportName { get; init; }

    /// <summary>Where the temporary bitmap of an increment is; null when the whole disk is read.</summary>
    public BitmapReference? Temporary { get; init; }

    /// <summary>The new checkpoint's bitmap on the disk; null when it gets none.</summary>
    public BitmapReference? Checkpoint { get; init; }
}
