using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Tidemark.Backup.Journal;

/// <summary>A lock of the kernel's on an open file (<c>flock</c>): free when it is disposed or its process is
/// gone.</summary>
/// <remarks>The file is opened by the system call and not by the runtime, which would take a lock of its own on
/// it.</remarks>
public sealed partial class RunLock : IDisposable
{
    private const int ReadWriteCreateCloseOnExec = 0x80042;
    private const int OwnerOnly = 0x180;
    private const int ExclusiveWithoutWaiting = 2 | 4;
    private const int Unlock = 8;
    private const int EWOULDBLOCK = 11;

    private readonly SafeFileHandle _file;

    private RunLock(SafeFileHandle file) => _file = file;

    /// <inheritdoc/>
    public void Dispose()
    {
        // Closing alone would not free it while a process that is just being started still has a copy of the file.
        if (!_file.IsClosed)
        {
            _ = Lock(_file, Unlock);
            _file.Dispose();
        }
    }

    /// <summary>Takes the lock, or returns null when it is held.</summary>
    /// <exception cref="IOException">The file cannot be made or locked.</exception>
    internal static RunLock? TryTake(string path)
    {
        var file = new SafeFileHandle(Open(path, ReadWriteCreateCloseOnExec, OwnerOnly), ownsHandle: true);
        if (file.IsInvalid)
        {
            throw new IOException($"could not open '{path}': {Marshal.GetLastPInvokeErrorMessage()}");
        }

        if (Lock(file, ExclusiveWithoutWaiting) == 0)
        {
            return new RunLock(file);
        }

        var error = Marshal.GetLastPInvokeError();
        file.Dispose();
        return error == EWOULDBLOCK
            ? null
            : throw new IOException($"could not lock '{path}': {Marshal.GetPInvokeErrorMessage(error)}");
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags, int mode);

    [LibraryImport("libc", EntryPoint = "flock", SetLastError = true)]
    private static partial int Lock(SafeFileHandle file, int operation);
}
