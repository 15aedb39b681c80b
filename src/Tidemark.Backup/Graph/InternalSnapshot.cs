namespace Tidemark.Backup.Graph;

/// <summary>A snapshot that lies inside an image (QAPI <c>SnapshotInfo</c>).</summary>
/// <param name="Name">Its name.</param>
/// <param name="VmStateSize">Bytes of the virtual machine's state; zero for a snapshot of the disk alone.</param>
public sealed record InternalSnapshot(string Name, long VmStateSize);
