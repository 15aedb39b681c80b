using System.Collections;
using System.Runtime.InteropServices;

namespace Tidemark.Testing;

/// <summary>A program's run with what the kernel says of it at its end: the most memory that it held at once.</summary>
/// <remarks>Not with <see cref="System.Diagnostics.Process"/>, which waits for its children without asking.</remarks>
public static partial class MeasuredProcess
{
    // struct rusage: two times of two words each, then the peak in KiB, then thirteen more words.
    private const int UsageWords = 18, PeakWord = 4;

    /// <summary>Runs a program to its end, both its outputs in one file.</summary>
    /// <returns>Its exit code, and the peak of its resident memory in bytes.</returns>
    public static Task<(int ExitCode, long PeakMemory)> RunAsync(
        string program, IEnumerable<string> arguments, string outputFile) =>
        Task.Run(() => Run(program, arguments, outputFile));

    private static (int ExitCode, long PeakMemory) Run(
        string program, IEnumerable<string> arguments, string outputFile)
    {
        // The shell opens the file and becomes the program.
        string?[] words = ["sh", "-c", "out=$1; shift; exec \"$@\" >\"$out\" 2>&1", "sh", outputFile, program,
            .. arguments, null];
        string?[] environment = [.. Environment.GetEnvironmentVariables().Cast<DictionaryEntry>()
            .Select(entry => $"{entry.Key}={entry.Value}"), null];
        var error = Spawn(out var id, "/bin/sh", 0, 0, words, environment);
        if (error != 0)
        {
            throw new InvalidOperationException($"could not start {program}: error {error}");
        }

        var usage = new long[UsageWords];
        if (Wait(id, out var status, 0, ref usage[0]) != id)
        {
            throw new InvalidOperationException(
                $"could not wait for {program}: error {Marshal.GetLastPInvokeError()}");
        }

        const int SignalMask = 0x7f, CodeShift = 8, SignalBase = 128;
        var signal = status & SignalMask;
        return (signal != 0 ? SignalBase + signal : (status >> CodeShift) & 0xff, usage[PeakWord] * 1024);
    }

    [LibraryImport("libc", EntryPoint = "posix_spawn", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Spawn(
        out int id, string path, nint fileActions, nint attributes, string?[] arguments, string?[] environment);

    [LibraryImport("libc", EntryPoint = "wait4", SetLastError = true)]
    private static partial int Wait(int id, out int status, int options, ref long usage);
}
