using System.Globalization;
using System.Runtime.InteropServices;

namespace Tidemark.Bench;

/// <summary>User and system time: of the processes that were started and have ended, and of running daemons.</summary>
internal static partial class ProcessorTime
{
    private const int Children = -1;
    private const double TicksPerSecond = 100;

    // struct rusage: ru_utime and ru_stime, each seconds and microseconds, then fourteen more words.
    private const int UsageWords = 18;

    /// <summary>Seconds used until now; the difference of two calls is what lay between them.</summary>
    public static double Of(IEnumerable<int> daemons)
    {
        Span<long> usage = stackalloc long[UsageWords];
        if (GetUsage(Children, ref usage[0]) != 0)
        {
            throw new InvalidOperationException("getrusage failed");
        }

        return usage[0] + usage[2] + ((usage[1] + usage[3]) / 1e6) + daemons.Sum(OfProcess);
    }

    private static double OfProcess(int id)
    {
        // proc(5): after the name in parentheses, utime and stime are the 12th and 13th fields.
        var stat = File.ReadAllText($"/proc/{id}/stat");
        var fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
        return (long.Parse(fields[11], CultureInfo.InvariantCulture)
            + long.Parse(fields[12], CultureInfo.InvariantCulture)) / TicksPerSecond;
    }

    [LibraryImport("libc", EntryPoint = "getrusage", SetLastError = true)]
    private static partial int GetUsage(int who, ref long usage);
}
