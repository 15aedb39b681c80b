using System.Runtime.InteropServices;

namespace Tidemark.Engine.Nodes;

/// <summary>What the host's file system knows of a file beyond what the runtime tells.</summary>
internal static partial class HostFiles
{
    // struct statx (include/uapi/linux/stat.h): 256 bytes, stx_mask at 0, stx_blocks at 48.
    private const int StatxSize = 256;
    private const int StatxBlocksOffset = 48;
    private const uint StatxBlocks = 0x400;
    private const int AtCurrentDirectory = -100;
    private const int BlockSize = 512;

    /// <summary>How many bytes of storage a file takes; null when it cannot be said.</summary>
    internal static long? AllocatedBytes(string path)
    {
        Span<byte> result = stackalloc byte[StatxSize];
        result.Clear();
        if (Statx(AtCurrentDirectory, path, 0, StatxBlocks, ref MemoryMarshal.GetReference(result)) != 0
            || (MemoryMarshal.Read<uint>(result) & StatxBlocks) == 0)
        {
            return null;
        }

        return MemoryMarshal.Read<long>(result[StatxBlocksOffset..]) * BlockSize;
    }

    [LibraryImport("libc", EntryPoint = "statx", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Statx(int directory, string path, int flags, uint mask, ref byte result);
}
