using System.Diagnostics;

namespace Tidemark.Qcow2.Tests;

/// <summary>Runs one method of this test program in a process of its own, that can be measured or killed.</summary>
internal static class Child
{
    /// <summary>Tells the method that it runs as a child, and what it is to do.</summary>
    internal const string Variable = "TIDEMARK_TEST_CHILD";

    /// <summary>What this process is to do as a child; null when it is none.</summary>
    internal static string? Task => Environment.GetEnvironmentVariable(Variable);

    internal static Process Start(string method, string task)
    {
        var program = Path.Combine(AppContext.BaseDirectory, "Tidemark.Qcow2.Tests");
        ProcessStartInfo start = new(program)
        {
            ArgumentList = { "-noLogo", "-noColor", "-method", method },
            RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true,
        };
        start.Environment[Variable] = task;
        return Process.Start(start) ?? throw new InvalidOperationException($"could not start {program}");
    }
}
