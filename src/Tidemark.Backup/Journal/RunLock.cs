using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Tidemark.Backup.Journal;

/// <summary>A lock of the kernel's on an open file (<c>flock</c>): free when it is disposed or its process is gone.</summary>
public sealed partial class RunLock : IDisposable
{
    private const int ExclusiveWithoutWaiting = 2 | 4;

    private readonly FileStream _file;

    private RunLock(FileStream file) => _file = file;

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    /// <summary>Takes the lock, or returns null when it is held; the file then stays the caller's.</summary>
    internal static RunLock? TryTake(FileStream file) =>
        Lock(file.SafeFileHandle, ExclusiveWithoutWaiting) == 0 ? new RunLock(file) : null;

    [LibraryImport("libc", EntryPoint = "flock", SetLastError = true)]
    private static partial int Lock(SafeFileHandle file, int operation);
}
