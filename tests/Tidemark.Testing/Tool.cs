using System.Diagnostics;

namespace Tidemark.Testing;

/// <summary>A peer's program: found, or the test is skipped with the reason.</summary>
public static class Tool
{
    /// <summary>The program's full path, or null.</summary>
    public static string? Find(string name) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':')
            .Where(folder => folder.Length > 0)
            .Select(folder => Path.Combine(folder, name))
            .FirstOrDefault(File.Exists);

    /// <summary>The reason to skip, or null when all the programs are there. Use with <c>Assert.SkipWhen</c>.</summary>
    public static string? Missing(params string[] names)
    {
        var missing = names.Where(name => Find(name) is null).ToArray();
        return missing.Length == 0 ? null : $"not installed: {string.Join(", ", missing)}";
    }

    /// <summary>Runs a program to its end; returns its exit code and both outputs.</summary>
    public static async Task<ToolResult> RunAsync(string name, IEnumerable<string> arguments, string? input = null,
        IReadOnlyDictionary<string, string>? environment = null, TimeSpan? timeout = null)
    {
        var start = new ProcessStartInfo(name)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            RedirectStandardInput = true,
        };
        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        foreach (var (key, value) in environment ?? new Dictionary<string, string>())
        {
            start.Environment[key] = value;
        }

        using var process = Process.Start(start) ?? throw new InvalidOperationException($"could not start {name}");
        if (input is not null)
        {
            await process.StandardInput.WriteAsync(input);
        }

        process.StandardInput.Close();
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        using var limit = new CancellationTokenSource(timeout ?? TimeSpan.FromMinutes(3));
        try
        {
            await process.WaitForExitAsync(limit.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            throw new TimeoutException($"{name} {string.Join(' ', start.ArgumentList)} did not end in time");
        }

        return new ToolResult(process.ExitCode, await output, await error);
    }

    /// <summary>Runs a program that must succeed; returns its standard output.</summary>
    public static async Task<string> RunOkAsync(string name, params string[] arguments)
    {
        var result = await RunAsync(name, arguments);
        return result.ExitCode == 0
            ? result.Output
            : throw new InvalidOperationException(
                $"{name} {string.Join(' ', arguments)} exited with {result.ExitCode}: {result.Error}{result.Output}");
    }
}

/// <summary>How a program ended.</summary>
public sealed record ToolResult(int ExitCode, string Output, string Error);
