using System.Diagnostics;
using System.Text.Json;
using Tidemark.Testing;

namespace Tidemark.Interop.Tests.Programs;

/// <summary>The built program, started as a user would start it, with a state directory of the test's own.</summary>
internal sealed class TidemarkProgram(string folder, string password = "a password of the tests")
{
    private static readonly TimeSpan s_timeout = TimeSpan.FromMinutes(3);

    /// <summary>The executable built beside this test's own; or another, say one compiled ahead of time.</summary>
    public static string Executable { get; } =
        System.Environment.GetEnvironmentVariable("TIDEMARK_PROGRAM") is { Length: > 0 } named
            ? named
            : Path.GetFullPath(Path.Combine(
                AppContext.BaseDirectory, "..", "..", "Tidemark.Cli",
                Path.GetFileName(Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory)), "tidemark"));

    public string Password => password;

    public string Repository { get; init; } = Path.Combine(folder, "repo");

    public Dictionary<string, string> Environment => new()
    {
        ["TIDEMARK_PASSWORD"] = password,
        ["RESTIC_PASSWORD"] = password,
        ["XDG_STATE_HOME"] = Path.Combine(folder, "state"),
        ["XDG_CACHE_HOME"] = Path.Combine(folder, "cache"),
        ["XDG_RUNTIME_DIR"] = folder,
        ["TMPDIR"] = folder,
        // The runtime's own debugging sockets would lie there too.
        ["DOTNET_EnableDiagnostics"] = "0",
    };

    public Task<ToolResult> RunAsync(params string[] arguments) =>
        Tool.RunAsync(Executable, arguments, null, Environment, s_timeout);

    /// <summary>Runs it; it must succeed.</summary>
    public async Task<string> RunOkAsync(params string[] arguments)
    {
        var result = await RunAsync(arguments);
        return OutputOf("tidemark", arguments, result);
    }

    /// <summary>Makes a backup, which must succeed; returns what it reported.</summary>
    public async Task<JsonElement> BackupAsync(string source, params string[] options)
    {
        var output = await RunOkAsync(
            ["backup", source, "--repo", Repository, "--name", "vm", "--json", .. options]);
        return JsonDocument.Parse(output).RootElement.Clone();
    }

    /// <summary>Makes a backup, which must fail; returns what it said on standard error.</summary>
    public async Task<string> BackupFailsAsync(string source, params string[] options)
    {
        var result = await RunAsync(["backup", source, "--repo", Repository, "--name", "vm", "--json", .. options]);
        return result.ExitCode != 0
            ? result.Error
            : throw new InvalidOperationException($"a backup succeeded that had to fail: {result.Output}");
    }

    /// <summary>Restores one disk of a point as a raw file and returns its bytes.</summary>
    public async Task<byte[]> RestoreAsync(string snapshot, string disk)
    {
        var target = Path.Combine(folder, $"restored-{Guid.NewGuid():N}.raw");
        await RunOkAsync("restore", $"{snapshot}:{disk}", "--repo", Repository, "--to", target);
        var bytes = await File.ReadAllBytesAsync(target);
        File.Delete(target);
        return bytes;
    }

    public async Task<string> ResticAsync(params string[] arguments)
    {
        var result = await Tool.RunAsync(
            "restic", ["-r", Repository, "--no-cache", .. arguments], null, Environment, s_timeout);
        return OutputOf("restic", arguments, result);
    }

    /// <summary>Starts the program as a daemon.</summary>
    public Process Start(IEnumerable<string> arguments) =>
        BackgroundProgram.Start(Executable, arguments, Environment);

    /// <summary>Starts the program, its errors for the test to read.</summary>
    public Process StartQuietly(IEnumerable<string> arguments)
    {
        var start = new ProcessStartInfo(Executable, arguments)
        {
            RedirectStandardError = true,
            RedirectStandardOutput = true,
        };
        foreach (var (key, value) in Environment)
        {
            start.Environment[key] = value;
        }

        return Process.Start(start) ?? throw new InvalidOperationException($"could not start {Executable}");
    }

    private static string OutputOf(string program, string[] arguments, ToolResult result) => result.ExitCode == 0
        ? result.Output
        : throw new InvalidOperationException(
            $"{program} {string.Join(' ', arguments)} exited with {result.ExitCode}:\n{result.Error}{result.Output}");
}
