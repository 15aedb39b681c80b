using System.Globalization;

namespace Tidemark.Testing;

/// <summary>
/// The seed of a random test: printed when it fails, set by <c>TIDEMARK_TEST_SEED</c> to play it again.
/// </summary>
public static class TestSeed
{
    private const string Variable = "TIDEMARK_TEST_SEED";

    /// <summary>The seed given by the environment, or a fresh one.</summary>
    public static int Next() =>
        int.TryParse(Environment.GetEnvironmentVariable(Variable), CultureInfo.InvariantCulture, out var seed)
            ? seed
            : Random.Shared.Next();

    /// <summary>Runs a random test; a failure names the seed.</summary>
    public static void Run(Action<Random> body, int? seed = null)
    {
        var used = seed ?? Next();
        try
        {
            body(new Random(used));
        }
        catch (Exception exception)
        {
            throw new InvalidOperationException($"failed with {Variable}={used}: {exception.Message}", exception);
        }
    }

    /// <summary>Runs a random test; a failure names the seed.</summary>
    public static async Task RunAsync(Func<Random, Task> body, int? seed = null)
    {
        var used = seed ?? Next();
        try
        {
            await body(new Random(used));
        }
        catch (Exception exception)
        {
            throw new InvalidOperationException($"failed with {Variable}={used}: {exception.Message}", exception);
        }
    }
}
