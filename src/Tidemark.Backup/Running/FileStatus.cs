using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Tidemark.Backup.Planning;

namespace Tidemark.Backup.Running;

/// <summary>What the kernel says of a name, without following a link.</summary>
/// <param name="User">Whose it is.</param>
/// <param name="Group">Whose group's.</param>
/// <param name="Type">Its type's bits.</param>
/// <param name="Length">Its length in bytes.</param>
/// <param name="Identity">Which file it is.</param>
internal readonly partial record struct FileStatus(
    uint User, uint Group, uint Type, ulong Length, FileIdentity Identity)
{
    private const int CurrentDirectory = -100;
    private const int FollowsNoLink = 0x100;

    // Type, owner, number, length, birth.
    private const uint Wanted = 0x1 | 0x8 | 0x10 | 0x100 | 0x200 | KnowsBirth;
    private const uint KnowsBirth = 0x800;

    private const uint TypeMask = 0xF000;
    private const uint RegularType = 0x8000;
    private const uint SocketType = 0xC000;

    // struct statx of the kernel.
    private const int StatxLength = 256;
    private const int UserOffset = 20;
    private const int GroupOffset = 24;
    private const int ModeOffset = 28;
    private const int InodeOffset = 32;
    private const int LengthOffset = 40;
    private const int BornSecondsOffset = 80;
    private const int BornNanosecondsOffset = 88;
    private const int DeviceMajorOffset = 136;
    private const int DeviceMinorOffset = 140;

    /// <summary>Whether it is a file with content.</summary>
    internal bool IsRegular => Type == RegularType;

    /// <summary>Whether it is a unix socket.</summary>
    internal bool IsSocket => Type == SocketType;

    /// <summary>Asks; null when nothing is there, or it cannot be seen.</summary>
    /// <param name="path">Its path.</param>
    /// <param name="followsLinks">Whether what a link leads to is meant.</param>
    internal static FileStatus? Read(string path, bool followsLinks = false)
    {
        var buffer = new byte[StatxLength];
        if (Statx(CurrentDirectory, path, followsLinks ? 0 : FollowsNoLink, Wanted, buffer) != 0)
        {
            return null;
        }

        uint Word(int offset) => BinaryPrimitives.ReadUInt32LittleEndian(buffer.AsSpan(offset));
        ulong Long(int offset) => BinaryPrimitives.ReadUInt64LittleEndian(buffer.AsSpan(offset));
        var born = (Word(0) & KnowsBirth) == 0
            ? 0
            : ((long)Long(BornSecondsOffset) * 1_000_000_000) + Word(BornNanosecondsOffset);
        return new FileStatus(
            Word(UserOffset),
            Word(GroupOffset),
            BinaryPrimitives.ReadUInt16LittleEndian(buffer.AsSpan(ModeOffset)) & TypeMask,
            Long(LengthOffset),
            new FileIdentity(
                ((ulong)Word(DeviceMajorOffset) << 32) | Word(DeviceMinorOffset), Long(InodeOffset), born));
    }

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Statx(int directory, string path, int flags, uint mask, byte[] buffer);
}
