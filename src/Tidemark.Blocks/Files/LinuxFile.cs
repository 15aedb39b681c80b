using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Tidemark.Blocks.Files;

/// <summary>The few Linux system calls on files that the runtime does not offer.</summary>
internal static partial class LinuxFile
{
    internal const int SeekData = 3;
    internal const int SeekHole = 4;
    internal const int KeepSize = 1;
    internal const int PunchHole = 2;
    internal const int ZeroRange = 16;

    internal const int SeekEnd = 2;
    internal const int GetOpenFileLock = 36;
    internal const int SetOpenFileLock = 37;

    internal const int EINTR = 4;
    internal const int ENXIO = 6;
    internal const int EAGAIN = 11;
    internal const int EACCES = 13;
    internal const int ENOSPC = 28;
    internal const int EOPNOTSUPP = 95;

    private const int EmptyPath = 0x1000;
    private const uint BlocksMask = 0x400;
    private const int StatusLength = 256;
    private const int BlocksOffset = 48;
    private const int BlockSize = 512;

    [LibraryImport("libc", EntryPoint = "lseek64", SetLastError = true)]
    internal static partial long Seek(SafeFileHandle file, long offset, int whence);

    [LibraryImport("libc", EntryPoint = "fallocate64", SetLastError = true)]
    internal static partial int Allocate(SafeFileHandle file, int mode, long offset, long length);

    [LibraryImport("libc", EntryPoint = "fdatasync", SetLastError = true)]
    internal static partial int SyncData(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    internal static partial int Control(SafeFileHandle file, int command, ref FileLock description);

    /// <summary>How many bytes of storage a file takes; null when the kernel does not say.</summary>
    internal static unsafe long? AllocatedLength(SafeFileHandle file)
    {
        // struct statx is the same on every architecture: stx_mask at 0, stx_blocks at offset 48.
        var status = stackalloc byte[StatusLength];
        return Status(file, "", EmptyPath, BlocksMask, status) == 0 && (*(uint*)status & BlocksMask) != 0
            ? *(long*)(status + BlocksOffset) * BlockSize
            : null;
    }

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static unsafe partial int Status(
        SafeFileHandle file, string path, int flags, uint mask, byte* status);

    /// <summary>The kernel's <c>struct flock</c> with 64-bit offsets.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct FileLock
    {
        internal const short Read = 0;
        internal const short Write = 1;
        internal const short Unlock = 2;

        internal short Type;
        internal short Whence;
        internal long Offset;
        internal long Length;
        internal int ProcessId;
    }
}
