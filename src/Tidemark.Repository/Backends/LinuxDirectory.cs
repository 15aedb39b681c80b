using System.Runtime.InteropServices;

namespace Tidemark.Repository.Backends;

/// <summary>The Linux system calls that durable, exclusive creation of a file needs and the runtime does not
/// offer.</summary>
internal static partial class LinuxDirectory
{
    private const int ReadOnlyDirectory = 0x10000 | 0x80000; // O_DIRECTORY | O_CLOEXEC
    private const int CurrentDirectory = -100; // AT_FDCWD
    private const uint NoReplace = 1; // RENAME_NOREPLACE
    private const int EEXIST = 17;
    private const int EINVAL = 22;
    private const int ENOSYS = 38;
    private const int EOPNOTSUPP = 95;

    /// <summary>Makes the entries of a directory durable.</summary>
    internal static void Sync(string path)
    {
        var descriptor = Open(path, ReadOnlyDirectory);
        if (descriptor < 0)
        {
            throw Error($"open the directory '{path}'");
        }

        try
        {
            // File systems that cannot sync a directory (some network ones) say EINVAL; nothing more can be done there.
            if (Fsync(descriptor) != 0 && Marshal.GetLastPInvokeError() != EINVAL)
            {
                throw Error($"sync the directory '{path}'");
            }
        }
        finally
        {
            _ = Close(descriptor);
        }
    }

    /// <summary>Gives a file its final name if that is free; false, and nothing changed, if it is taken.</summary>
    internal static bool RenameIfAbsent(string source, string target)
    {
        if (Rename(CurrentDirectory, source, CurrentDirectory, target, NoReplace) == 0)
        {
            return true;
        }

        var error = Marshal.GetLastPInvokeError();
        if (error == EEXIST)
        {
            return false;
        }

        if (error is not (EINVAL or ENOSYS or EOPNOTSUPP))
        {
            throw Error($"rename '{source}' to '{target}'");
        }

        // The file system has no exclusive rename; a hard link is exclusive too.
        if (Link(source, target) != 0)
        {
            return Marshal.GetLastPInvokeError() == EEXIST ? false : throw Error($"link '{source}' to '{target}'");
        }

        File.Delete(source);
        return true;
    }

    private static IOException Error(string doing)
    {
        var error = Marshal.GetLastPInvokeError();
        return new IOException($"could not {doing}: {Marshal.GetPInvokeErrorMessage(error)}", error);
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "close", SetLastError = true)]
    private static partial int Close(int descriptor);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int Fsync(int descriptor);

    [LibraryImport("libc", EntryPoint = "renameat2", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Rename(int sourceDirectory, string source, int targetDirectory, string target,
        uint flags);

    [LibraryImport("libc", EntryPoint = "link", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Link(string source, string target);
}
