using System.Runtime.InteropServices;

namespace Tidemark.Qcow2.Compression;

/// <summary>
/// The runtime's own zlib. QEMU decodes with a window of 4 KiB and refuses what reaches back further
/// (block/qcow2-threads.c); the runtime's <c>DeflateStream</c> always uses 32 KiB, so its native half is called
/// directly, with the window's size as an argument. The structure is that of the runtime's
/// src/native/libs/System.IO.Compression.Native/pal_zlib.h.
/// </summary>
internal static partial class NativeDeflate
{
    internal const int Deflated = 8;
    internal const int Finish = 4;
    internal const int StreamEnd = 1;
    internal const int Ok = 0;
    internal const int BufferError = -5;

    /// <summary>Negative: raw deflate, without a header. 2 to the 12th bytes of window.</summary>
    internal const int RawWindow = -12;

    private const string Library = "libSystem.IO.Compression.Native";

    [LibraryImport(Library, EntryPoint = "CompressionNative_DeflateInit2_")]
    internal static partial int DeflateInit(
        ref State stream, int level, int method, int windowBits, int memoryLevel, int strategy);

    [LibraryImport(Library, EntryPoint = "CompressionNative_Deflate")]
    internal static partial int Deflate(ref State stream, int flush);

    [LibraryImport(Library, EntryPoint = "CompressionNative_DeflateEnd")]
    internal static partial int DeflateEnd(ref State stream);

    [LibraryImport(Library, EntryPoint = "CompressionNative_InflateInit2_")]
    internal static partial int InflateInit(ref State stream, int windowBits);

    [LibraryImport(Library, EntryPoint = "CompressionNative_Inflate")]
    internal static partial int Inflate(ref State stream, int flush);

    [LibraryImport(Library, EntryPoint = "CompressionNative_InflateEnd")]
    internal static partial int InflateEnd(ref State stream);

    /// <summary>The native <c>PAL_ZStream</c>.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct State
    {
        internal IntPtr NextIn;
        internal IntPtr NextOut;
        internal IntPtr Message;
        internal IntPtr Internal;
        internal uint AvailableIn;
        internal uint AvailableOut;
    }
}
