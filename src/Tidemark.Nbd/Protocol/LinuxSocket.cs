using System.Runtime.InteropServices;

namespace Tidemark.Nbd.Protocol;

/// <summary>The Linux system calls on sockets that the runtime does not offer without allocation.</summary>
internal static unsafe partial class LinuxSocket
{
    internal const int WaitAll = 0x100;
    internal const int Peek = 0x2;
    internal const int DontWait = 0x40;
    internal const int NoSignal = 0x4000;

    internal const int EINTR = 4;
    internal const int EAGAIN = 11;

    internal const int FileTypeMask = 0xF000;
    internal const int FileTypeSocket = 0xC000;

    private const int CurrentDirectory = -100;
    private const int NoFollow = 0x100;
    private const uint WantType = 1;

    [LibraryImport("libc", EntryPoint = "recv", SetLastError = true)]
    internal static partial nint Receive(SafeHandle socket, byte* target, nint length, int flags);

    [LibraryImport("libc", EntryPoint = "recvmsg", SetLastError = true)]
    internal static partial nint Receive(SafeHandle socket, Message* message, int flags);

    [LibraryImport("libc", EntryPoint = "sendmsg", SetLastError = true)]
    internal static partial nint Send(SafeHandle socket, Message* message, int flags);

    [LibraryImport("libc", EntryPoint = "socketpair", SetLastError = true)]
    internal static partial int CreatePair(int domain, int type, int protocol, int* descriptors);

    /// <summary>Whether a path names a unix socket.</summary>
    internal static bool IsSocket(string path)
    {
        // struct statx is the same on every architecture: stx_mode lies at offset 28.
        var buffer = stackalloc byte[256];
        return Status(CurrentDirectory, path, NoFollow, WantType, buffer) == 0
            && (*(ushort*)(buffer + 28) & FileTypeMask) == FileTypeSocket;
    }

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Status(int directory, string path, int flags, uint mask, byte* buffer);

    /// <summary>struct iovec.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct Part
    {
        internal byte* Start;
        internal nint Length;
    }

    /// <summary>struct msghdr of 64-bit Linux.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct Message
    {
        internal void* Name;
        internal nint NameLength;
        internal Part* Parts;
        internal nint PartCount;
        internal void* Control;
        internal nint ControlLength;
        internal nint Flags;
    }
}
