using System.Runtime.InteropServices;

namespace Tidemark.Backup.Running;

/// <summary>Gives a file to whom another one belongs: a hypervisor seldom runs as the user who backs it up.</summary>
internal static partial class FileOwner
{
    /// <summary>Gives it away if this process is root's and the other file is here; otherwise it stays whose it
    /// is.</summary>
    internal static void Copy(string likePath, string path)
    {
        if (Environment.IsPrivilegedProcess && likePath.Length > 0
            && FileStatus.Read(likePath, followsLinks: true) is { } like)
        {
            _ = ChangeOwner(path, like.User, like.Group);
        }
    }

    [LibraryImport("libc", EntryPoint = "chown", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int ChangeOwner(string path, uint user, uint group);
}
