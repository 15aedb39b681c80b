namespace Tidemark.Repository.Snapshots;

/// <summary>A disk of a restore point, as its <c>disks.json</c> lists it.</summary>
/// <param name="Name">The disk's name.</param>
/// <param name="FileName">The file in the restore point that holds its bytes, <c>NAME.raw</c>.</param>
/// <param name="Length">The disk's length in bytes.</param>
/// <param name="ChunkSize">The length of its chunks in bytes.</param>
public sealed record StoredDisk(string Name, string FileName, long Length, int ChunkSize);
