using System.Globalization;

namespace Tidemark.Bench;

/// <summary>What the command line asked for.</summary>
/// <param name="DiskLength">The disk; half of it is data.</param>
/// <param name="Repetitions">How often each contestant runs; its figure is the median.</param>
/// <param name="NbdSeconds">How long each run against an NBD server takes.</param>
/// <param name="Only">A word that a contest's name must hold; empty for all.</param>
/// <param name="ResultFolder">Where the JSON goes.</param>
internal sealed record BenchOptions(
    long DiskLength, int Repetitions, int NbdSeconds, string Only, string ResultFolder)
{
    public const string Usage = "./bench [--quick] [--repetitions N] [[--only] WORD]";

    public static BenchOptions Parse(string[] arguments, string root)
    {
        var options = new BenchOptions(1L << 30, 5, 3, "", Path.Combine(root, "bench-results"));
        for (var index = 0; index < arguments.Length; index++)
        {
            options = arguments[index] switch
            {
                "--quick" => options with { DiskLength = 256L << 20, Repetitions = 3, NbdSeconds = 1 },
                "--repetitions" when index + 1 < arguments.Length =>
                    options with { Repetitions = int.Parse(arguments[++index], CultureInfo.InvariantCulture) },
                "--only" when index + 1 < arguments.Length => options with { Only = arguments[++index] },
                var word when !word.StartsWith('-') => options with { Only = word },
                _ => throw new ArgumentException($"unknown: {arguments[index]}; {Usage}"),
            };
        }

        return options;
    }
}
