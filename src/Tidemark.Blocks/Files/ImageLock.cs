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
    /// <param name="used">What will be done with the image.</param>
    /// <param name="shared">What others may do with it.</param>
    /// <exception cref="BlockException">Another one's use excludes this one (<see cref="BlockErrorKind.Locked"/>), in
    /// QEMU's words; or the file system cannot lock.</exception>
    internal static void Acquire(SafeFileHandle file, string path, ImagePermissions used, ImagePermissions shared)
    {
        for (var index = 0; index < PermissionCount; index++)
        {
            if (Has(used, index))
            {
                Take(file, path, UsedBase + index);
            }

            if (!Has(shared, index))
            {
                Take(file, path, UnsharedBase + index);
            }
        }

        for (var index = 0; index < PermissionCount; index++)
        {
            if (Has(used, index) && IsHeldByAnother(file, path, UnsharedBase + index))
            {
                throw Refused(file, path, $"Failed to get \"{s_names[index]}\" lock");
            }

            if (!Has(shared, index) && IsHeldByAnother(file, path, UsedBase + index))
            {
                throw Refused(file, path, $"Failed to get shared \"{s_names[index]}\" lock");
            }
        }
    }

    /// <summary>
    /// Lets go of all locks. Closing does so too, but not at once when a child process that is just being started
    /// holds a copy of the descriptor.
    /// </summary>
    internal static void Release(SafeFileHandle file)
    {
        var all = new LinuxFile.FileLock
        {
            Type = LinuxFile.FileLock.Unlock,
            Offset = UsedBase,
            Length = UnsharedBase + PermissionCount - UsedBase,
        };
        _ = LinuxFile.Control(file, LinuxFile.SetOpenFileLock, ref all);
    }

    private static bool Has(ImagePermissions permissions, int index) => ((int)permissions & (1 << index)) != 0;

    private static void Take(SafeFileHandle file, string path, long offset)
    {
        var wanted = new LinuxFile.FileLock { Type = LinuxFile.FileLock.Read, Offset = offset, Length = 1 };
        Control(file, path, LinuxFile.SetOpenFileLock, ref wanted);
    }

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
                throw Refused(file, path, $"Failed to lock byte {offset}");
            }

            throw new BlockException(
                BlockErrorKind.NotSupported,
                $"Failed to lock byte {offset} of '{path}': {Marshal.GetPInvokeErrorMessage(error)}; "
                + "open it with locking=off if its file system has no locks");
        }
    }

    private static BlockException Refused(SafeFileHandle file, string path, string what)
    {
        Release(file);
        return new BlockException(BlockErrorKind.Locked, $"{what}\nIs another process using the image [{path}]?");
    }
}
