using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Tidemark.Backup.Running;

/// <summary>Gives a file to whom another one belongs: a hypervisor seldom runs as the user who backs it up.</summary>
internal static partial class FileOwner
{
    private const int CurrentDirectory = -100;
    private const uint WantsOwner = 0x8 | 0x10;

    // struct statx of the kernel: 256 bytes, the user at 20, the group at 24.
    private const int StatxLength = 256;
    private const int UserOffset = 20;
    private const int GroupOffset = 24;

    /// <summary>Gives it away if this process is root's and the other file is here; otherwise it stays whose it
    /// is.</summary>
    internal static void Copy(string likePath, string path)
    {
        var buffer = new byte[StatxLength];
        if (!Environment.IsPrivilegedProcess || likePath.Length == 0
            || Statx(CurrentDirectory, likePath, 0, WantsOwner, buffer) != 0)
        {
            return;
        }

        var user = BinaryPrimitives.ReadUInt32LittleEndian(buffer.AsSpan(UserOffset));
        var group = BinaryPrimitives.ReadUInt32LittleEndian(buffer.AsSpan(GroupOffset));
        _ = ChangeOwner(path, user, group);
    }

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Statx(int directory, string path, int flags, uint mask, byte[] buffer);

    [LibraryImport("libc", EntryPoint = "chown", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int ChangeOwner(string path, uint user, uint group);
}
