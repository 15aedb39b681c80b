using Tidemark.Backup.Planning;
using Tidemark.Repository.Disks;
using Tidemark.Repository.Snapshots;

namespace Tidemark.Backup.RestorePoints;

/// <summary>The newest restore point of one disk.</summary>
/// <param name="Snapshot">The restore point.</param>
/// <param name="Disk">Its chunks.</param>
/// <param name="Facts">What the planner needs of it.</param>
internal sealed record ParentPoint(Snapshot Snapshot, DiskIndex Disk, ParentDisk Facts);
