using Tidemark.Cli.Terminal;

namespace Tidemark.Cli;

internal static class Program
{
    private static async Task<int> Main(string[] arguments)
    {
        using var console = CommandConsole.ForProcess();
        using var signals = new TerminationSignals(console);
        return await Application.RunAsync(arguments, console, signals.Token);
    }
}
