namespace Tidemark.Backup.Restore;

/// <summary>A disk that was restored.</summary>
/// <param name="Disk">The disk's name.</param>
/// <param name="Path">The file.</param>
/// <param name="Size">The disk's size in bytes.</param>
/// <param name="BytesWritten">Bytes of data written; zeroes are not.</param>
/// <param name="Seconds">How long it took.</param>
public sealed record RestoredDisk(string Disk, string Path, long Size, long BytesWritten, double Seconds);
