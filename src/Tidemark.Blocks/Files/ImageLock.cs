// QEMU's image locking (block/file-posix.c, raw_apply_lock_bytes and raw_check_lock_bytes; the manual's "image
// locking"): who opens an image says in byte locks of the file what he does with it, and what others must not do.
//
//   byte 100 + i   held while permission i is used        (i: 0 consistent read, 1 write, 2 write unchanged, 3 resize)
//   byte 200 + i   held while permission i is not shared with others
//
// All of them are read locks, which any number may hold, and which a reader may take. To ask whether another holds one,
// the kernel is asked whether a write lock could be had. Each first takes his own bytes and then looks at the others':
// of two who come at the same time at least one sees the other. The locks belong to the open file description, so two
// opens in one process exclude each other just as two processes do, and the kernel drops them when the file is closed.

using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Blocks.Files;

/// <summary>The locks that an open image holds, so that QEMU and Tidemark keep out of each other's way.</summary>
internal static class ImageLock
{
    private const long UsedBase = 100;
    private const long UnsharedBase = 200;
    private const int PermissionCount = 4;

    private static readonly string[] s_names = ["consistent read", "write", "write unchanged", "resize"];

    /// <summary>Takes the locks of an open file.</summary>
    /// <param name="file">The open file; its closing ends the locks.</param>
    /// <param name="path">Its path, for messages.</param>
    /// <param name="locks">What will be done with the image, and what others may do with it.</param>
    /// <exception cref="BlockException">Another one's use excludes this one (<see cref="BlockErrorKind.Locked"/>), in
    /// QEMU's words; or the file system cannot lock.</exception>
    internal static void Acquire(
        SafeFileHandle file, string path, (ImagePermissions Used, ImagePermissions Shared) locks)
    {
        try
        {
            Take(file, path, locks);
            Check(file, path, locks);
        }
        catch
        {
            Release(file);
            throw;
        }
    }

    /// <summary>
    /// Goes over from one open description of a file to another that does other things with it, without a moment in
    /// which somebody else could come between. The old one keeps its locks; its closing, or <see cref="Release"/>, ends
    /// them.
    /// </summary>
    /// <param name="from">The description that holds locks.</param>
    /// <param name="held">Its locks.</param>
    /// <param name="to">The description that takes over.</param>
    /// <param name="locks">The locks that it shall have.</param>
    /// <param name="path">The file's path, for messages.</param>
    /// <exception cref="BlockException">Another one's use excludes this one; the locks are as they were.</exception>
    internal static void Move(
        SafeFileHandle from,
        (ImagePermissions Used, ImagePermissions Shared) held,
        SafeFileHandle to,
        (ImagePermissions Used, ImagePermissions Shared) locks,
        string path)
    {
        // Asked through the old description, to which its own locks are no hindrance.
        try
        {
            Take(from, path, locks);
            Check(from, path, locks);
            Take(to, path, locks);
        }
        catch
        {
            foreach (var offset in BytesOf(locks).Except(BytesOf(held)))
            {
                Unlock(from, offset, 1);
            }

            throw;
        }
    }

    /// <summary>
    /// Lets go of all locks. Closing does so too, but not at once when a child process that is just being started
    /// holds a copy of the descriptor.
    /// </summary>
    internal static void Release(SafeFileHandle file) => Unlock(
        file, UsedBase, UnsharedBase + PermissionCount - UsedBase);

    private static void Unlock(SafeFileHandle file, long offset, long length)
    {
        var range = new LinuxFile.FileLock { Type = LinuxFile.FileLock.Unlock, Offset = offset, Length = length };
        _ = LinuxFile.Control(file, LinuxFile.SetOpenFileLock, ref range);
    }

    // The bytes that locks are made of.
    private static IEnumerable<long> BytesOf((ImagePermissions Used, ImagePermissions Shared) locks)
    {
        for (var index = 0; index < PermissionCount; index++)
        {
            if (Has(locks.Used, index))
            {
                yield return UsedBase + index;
            }

            if (!Has(locks.Shared, index))
            {
                yield return UnsharedBase + index;
            }
        }
    }

    private static void Take(
        SafeFileHandle file, string path, (ImagePermissions Used, ImagePermissions Shared) locks)
    {
        foreach (var offset in BytesOf(locks))
        {
            var wanted = new LinuxFile.FileLock { Type = LinuxFile.FileLock.Read, Offset = offset, Length = 1 };
            Control(file, path, LinuxFile.SetOpenFileLock, ref wanted);
        }
    }

    private static void Check(
        SafeFileHandle file, string path, (ImagePermissions Used, ImagePermissions Shared) locks)
    {
        for (var index = 0; index < PermissionCount; index++)
        {
            if (Has(locks.Used, index) && IsHeldByAnother(file, path, UnsharedBase + index))
            {
                throw Refused(path, $"Failed to get \"{s_names[index]}\" lock");
            }

            if (!Has(locks.Shared, index) && IsHeldByAnother(file, path, UsedBase + index))
            {
                throw Refused(path, $"Failed to get shared \"{s_names[index]}\" lock");
            }
        }
    }

    private static bool Has(ImagePermissions permissions, int index) => ((int)permissions & (1 << index)) != 0;

    private static bool IsHeldByAnother(SafeFileHandle file, string path, long offset)
    {
        var asked = new LinuxFile.FileLock { Type = LinuxFile.FileLock.Write, Offset = offset, Length = 1 };
        Control(file, path, LinuxFile.GetOpenFileLock, ref asked);
        return asked.Type != LinuxFile.FileLock.Unlock;
    }

    private static void Control(SafeFileHandle file, string path, int command, ref LinuxFile.FileLock description)
    {
        while (LinuxFile.Control(file, command, ref description) != 0)
        {
            var error = Marshal.GetLastPInvokeError();
            if (error == LinuxFile.EINTR)
            {
                continue;
            }

            var offset = description.Offset;
            if (error is LinuxFile.EAGAIN or LinuxFile.EACCES)
            {
                // Somebody holds a write lock on the byte. QEMU never does, but a foreign program may.
                throw Refused(path, $"Failed to lock byte {offset}");
            }

            throw new BlockException(
                BlockErrorKind.NotSupported,
                $"Failed to lock byte {offset} of '{path}': {Marshal.GetPInvokeErrorMessage(error)}; "
                + "open it with locking=off if its file system has no locks");
        }
    }

    private static BlockException Refused(string path, string what) =>
        new(BlockErrorKind.Locked, $"{what}\nIs another process using the image [{path}]?");
}
