using System.Globalization;

namespace Tidemark.Fuzz;

/// <summary>What the command line asks for.</summary>
internal sealed record FuzzOptions
{
    public required string Target { get; init; }

    /// <summary>Executions to make.</summary>
    public long Executions { get; init; } = 1_000_000;

    /// <summary>The seed of the search. The same seed without coverage gives the same inputs.</summary>
    public ulong Seed { get; init; }

    /// <summary>A file to run once instead of a search.</summary>
    public string? Replay { get; init; }

    /// <summary>Where findings are written.</summary>
    public string Findings { get; init; } = "artifacts/fuzz";

    /// <exception cref="FormatException">An option is unknown or has no sensible value.</exception>
    public static FuzzOptions Parse(ReadOnlySpan<string> arguments, ulong freshSeed)
    {
        var options = new FuzzOptions { Target = "", Seed = freshSeed };
        for (var index = 0; index < arguments.Length; index++)
        {
            var argument = arguments[index];
            if (!argument.StartsWith('-'))
            {
                options = options with { Target = argument };
                continue;
            }

            if (index + 1 == arguments.Length)
            {
                throw new FormatException($"{argument} needs a value");
            }

            var value = arguments[++index];
            options = argument switch
            {
                "--executions" => options with { Executions = Count(argument, value) },
                "--seed" => options with { Seed = (ulong)Count(argument, value) },
                "--replay" => options with { Replay = value },
                "--findings" => options with { Findings = value },
                _ => throw new FormatException($"unknown option {argument}"),
            };
        }

        return options;
    }

    private static long Count(string option, string value) =>
        long.TryParse(value.Replace("_", "", StringComparison.Ordinal), NumberStyles.None,
            CultureInfo.InvariantCulture, out var count)
            ? count
            : throw new FormatException($"{option} needs a whole number, not '{value}'");
}
