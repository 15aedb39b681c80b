using System.Runtime.InteropServices;

namespace Tidemark.Nbd.Server;

/// <summary>What the kernel has counted for the calling thread.</summary>
internal static unsafe partial class ThreadUsage
{
    private const int Thread = 1;

    // struct rusage: two times of two words each, then fourteen words; ru_nvcsw is the last but one.
    private const int Words = 18;
    private const int VoluntaryIndex = 16;

    /// <summary>How often the thread gave up the processor to wait for something. Losing it to another thread does not
    /// count.</summary>
    internal static long VoluntarySwitches()
    {
        var usage = stackalloc long[Words];
        return GetUsage(Thread, usage) == 0 ? usage[VoluntaryIndex] : 0;
    }

    [LibraryImport("libc", EntryPoint = "getrusage")]
    private static partial int GetUsage(int who, long* usage);
}
