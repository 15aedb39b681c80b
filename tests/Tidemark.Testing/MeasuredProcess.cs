using System.Diagnostics;
using System.Globalization;

namespace Tidemark.Testing;

/// <summary>A program's run with the most memory that it held at once, as the kernel counts it (<c>VmHWM</c>). That is
/// a high-water mark, so the last look before the end tells; looks are a millisecond apart.</summary>
/// <remarks>Not <c>wait4</c>: what that says includes the process that started the program, up to the start.</remarks>
public static class MeasuredProcess
{
    private const string Field = "VmHWM:";

    /// <summary>Runs a program to its end, its standard output in a file, its errors behind that.</summary>
    /// <returns>Its exit code, and the peak of its resident memory in bytes.</returns>
    public static async Task<(int ExitCode, long PeakMemory)> RunAsync(
        string program, IEnumerable<string> arguments, string outputFile)
    {
        ProcessStartInfo start = new(program, arguments)
        {
            RedirectStandardOutput = true, RedirectStandardError = true,
        };
        using var process = Process.Start(start) ?? throw new InvalidOperationException($"could not start {program}");
        var errors = process.StandardError.ReadToEndAsync();
        await using (var output = File.Create(outputFile))
        {
            var copying = process.StandardOutput.BaseStream.CopyToAsync(output);
            var peak = await Task.Run(() => Watch(process));
            await copying;
            await output.WriteAsync(System.Text.Encoding.UTF8.GetBytes(await errors));
            return (process.ExitCode, peak);
        }
    }

    private static long Watch(Process process)
    {
        long peak = 0;
        do
        {
            peak = Read(process.Id) ?? peak;
        }
        while (!process.WaitForExit(1));
        return peak;
    }

    // Nothing of a process that has just ended.
    private static long? Read(int id)
    {
        try
        {
            var line = File.ReadLines($"/proc/{id}/status").FirstOrDefault(text =>
                text.StartsWith(Field, StringComparison.Ordinal));
            var words = line?.Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries);
            return words is null ? null : long.Parse(words[1], CultureInfo.InvariantCulture) * 1024;
        }
        catch (IOException)
        {
            return null;
        }
    }
}
