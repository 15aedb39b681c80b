using System.Diagnostics;

namespace Tidemark.Bench;

/// <summary>Starts programs: what they say on standard output is thrown away, what they complain of is shown.</summary>
internal static class Programs
{
    public const string Password = "bench";

    /// <summary>The ordinary build of our program, beside this one's folder.</summary>
    private static string Ordinary { get; } = Path.GetFullPath(Path.Combine(
        AppContext.BaseDirectory, "..", "..", "Tidemark.Cli",
        Path.GetFileName(Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory)), "tidemark"));

    /// <summary>Our program compiled ahead of time, as a release has it; <c>./publish</c> makes it.</summary>
    private static string Native { get; } = Path.GetFullPath(Path.Combine(
        AppContext.BaseDirectory, "..", "..", "..", "native", "tidemark"));

    /// <summary>Our program: as a release has it, where that could be made.</summary>
    public static string Tidemark { get; } = File.Exists(Native) ? Native : Ordinary;

    /// <summary>Which of the two that is.</summary>
    public static string Kind => Tidemark == Native ? "native program" : "ordinary build";

    /// <summary>The contestants of ours for a verb, where both builds are of interest: the native program first, if it
    /// is there.</summary>
    public static IReadOnlyList<(string Who, string Program)> Ours(string verb) => File.Exists(Native)
        ? [($"tidemark {verb}", Native), ($"tidemark {verb} (ordinary build)", Ordinary)]
        : [($"tidemark {verb} (ordinary build)", Ordinary)];

    /// <summary>A folder for state and caches, so that none of the machine's own is used.</summary>
    public static string StateFolder { get; set; } = "";

    public static Process Start(string program, IEnumerable<string> arguments)
    {
        var start = new ProcessStartInfo(program)
        {
            RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true,
        };
        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        foreach (var name in new[] { "TIDEMARK_PASSWORD", "RESTIC_PASSWORD" })
        {
            start.Environment[name] = Password;
        }

        start.Environment["XDG_STATE_HOME"] = Path.Combine(StateFolder, "state");
        start.Environment["RESTIC_CACHE_DIR"] = Path.Combine(StateFolder, "cache");
        var process = Process.Start(start) ?? throw new InvalidOperationException($"could not start {program}");
        process.StandardInput.Close();
        return process;
    }

    /// <summary>Runs a program, which must succeed, with its standard output thrown away by the kernel: for one that
    /// says so much that to listen would be part of what is measured.</summary>
    public static Task RunToNowhereAsync(string program, params string[] arguments) =>
        RunAsync("sh", ["-c", "exec \"$0\" \"$@\" > /dev/null", program, .. arguments]);

    /// <summary>Runs a program, which must succeed; returns its standard output.</summary>
    public static async Task<string> RunAsync(string program, params string[] arguments)
    {
        using var process = Start(program, arguments);
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        await process.WaitForExitAsync();
        return process.ExitCode == 0
            ? await output
            : throw new InvalidOperationException(
                $"{program} {string.Join(' ', arguments)} exited with {process.ExitCode}: {await error}");
    }
}
