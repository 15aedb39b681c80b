using SharpFuzz;
using Tidemark.Fuzz.Targets;

namespace Tidemark.Fuzz;

internal static class Program
{
    private static int Main(string[] arguments)
    {
        if (arguments is ["--instrument", var target, var folder])
        {
            return Instrument(target, folder);
        }

        FuzzOptions options;
        try
        {
            options = FuzzOptions.Parse(arguments, (ulong)Random.Shared.NextInt64(int.MaxValue));
        }
        catch (FormatException exception)
        {
            Console.Error.WriteLine($"./fuzz: {exception.Message}");
            return 2;
        }

        if (Find(options.Target) is not { } found)
        {
            Console.Error.WriteLine("./fuzz TARGET [--executions N] [--seed N] [--replay FILE] [--findings FOLDER]");
            foreach (var known in FuzzTargets.All)
            {
                Console.Error.WriteLine($"  {known.Name,-14} {known.Description}");
            }

            return 2;
        }

        if (options.Replay is { } file)
        {
            // What is instrumented counts its branches, also if nobody looks.
            _ = new Coverage();
            found.Execute(File.ReadAllBytes(file));
            Console.WriteLine($"{found.Name}: {file} ran to its end");
            return 0;
        }

        return new FuzzRun(found, options).Run();
    }

    private static IFuzzTarget? Find(string name) => FuzzTargets.All.FirstOrDefault(target => target.Name == name);

    // Rewrites the target's assemblies in a folder (not the one that this process runs from) so that they count edges.
    private static int Instrument(string name, string folder)
    {
        var target = Find(name);
        foreach (var assembly in target?.Assemblies ?? [])
        {
            Fuzzer.Instrument(Path.Combine(folder, assembly + ".dll"), target!.IsInstrumented, Options.Value);
        }

        return 0;
    }
}
