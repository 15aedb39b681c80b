using Tidemark.Backup.Planning;
using Tidemark.Repository.Disks;

namespace Tidemark.Backup.Transfer;

/// <summary>One disk on its way.</summary>
internal sealed class DiskTransfer
{
    internal DiskTransfer(PlannedDisk plan, DiskWriter writer, ParentChunks? parent)
    {
        Plan = plan;
        Writer = writer;
        Parent = parent;
    }

    internal PlannedDisk Plan { get; }

    internal DiskWriter Writer { get; }

    /// <summary>The parent's chunks for an increment; null when the whole disk is read.</summary>
    internal ParentChunks? Parent { get; }

    internal TransferCounters Counters { get; } = new();

    /// <summary>What the temporary bitmap counted at the instant of the transaction.</summary>
    internal long DirtyBytes { get; set; }

    /// <summary>Why everything was read although an increment was planned; null if it was not.</summary>
    internal string? Escalation { get; set; }

    /// <summary>How long the disk took.</summary>
    internal TimeSpan Elapsed { get; set; }
}
