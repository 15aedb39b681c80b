using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Images.HostFiles;

/// <summary>What the runtime does not say of a file.</summary>
internal static partial class HostFile
{
    private const int CurrentDirectory = -100;
    private const uint BlocksMask = 0x400;
    private const int StatxLength = 256;
    private const int BlocksOffset = 48;
    private const int BlockSize = 512;

    /// <summary>How many bytes of storage a file takes.</summary>
    /// <returns>Null when that cannot be asked.</returns>
    internal static long? AllocatedLength(string path)
    {
        var status = new byte[StatxLength];
        if (Statx(CurrentDirectory, path, 0, BlocksMask, status) != 0)
        {
            return null;
        }

        var blocks = BitConverter.IsLittleEndian
            ? BinaryPrimitives.ReadInt64LittleEndian(status.AsSpan(BlocksOffset))
            : BinaryPrimitives.ReadInt64BigEndian(status.AsSpan(BlocksOffset));
        return blocks * BlockSize;
    }

    /// <summary>Creates an empty file, readable by all and written by its owner where the process's mask allows it; an
    /// existing one is left as it is.</summary>
    internal static void CreateIfMissing(string path)
    {
        try
        {
            using var stream = new FileStream(path, new FileStreamOptions
            {
                Mode = FileMode.OpenOrCreate,
                Access = FileAccess.Write,
                Share = FileShare.ReadWrite | FileShare.Delete,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead
                    | UnixFileMode.OtherRead,
            });
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw BlockException.FromIo(exception, $"create '{path}'");
        }
    }

    /// <summary>Sets storage aside for a range of a file.</summary>
    /// <exception cref="BlockException">There is not enough, or the file system cannot.</exception>
    internal static void Allocate(string path, long offset, long length)
    {
        const int ENOSPC = 28;
        try
        {
            using var file = File.OpenHandle(
                path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete);
            var error = AllocateRange(file, offset, length);
            if (error != 0)
            {
                throw new BlockException(
                    error == ENOSPC ? BlockErrorKind.NoSpace : BlockErrorKind.Io,
                    $"could not allocate {length} bytes at {offset} of '{path}': "
                    + Marshal.GetPInvokeErrorMessage(error));
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw BlockException.FromIo(exception, $"allocate {length} bytes of '{path}'");
        }
    }

    [LibraryImport("libc", EntryPoint = "posix_fallocate64")]
    private static partial int AllocateRange(SafeFileHandle file, long offset, long length);

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Statx(int directory, string path, int flags, uint mask, [Out] byte[] status);
}
