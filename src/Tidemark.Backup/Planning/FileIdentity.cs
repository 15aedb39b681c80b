namespace Tidemark.Backup.Planning;

/// <summary>
/// Which file it is, whatever its name. The moment of its birth belongs to it because a file system gives the number of
/// a file that is gone to the next one at once.
/// </summary>
/// <param name="Device">The file system's device, major number in the upper half.</param>
/// <param name="Inode">The file's number there.</param>
/// <param name="Born">When it was made, in nanoseconds since 1970; 0 where the file system does not say.</param>
public readonly record struct FileIdentity(ulong Device, ulong Inode, long Born);
