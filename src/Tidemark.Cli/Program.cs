using Tidemark.Cli.Commands;
using Tidemark.Cli.Terminal;

namespace Tidemark.Cli;

internal static class Program
{
    private static async Task<int> Main(string[] arguments)
    {
        using var console = CommandConsole.ForProcess();

        // The daemon handles signals itself: they are its normal end.
        if (arguments is [StorageDaemonCommand.Name, ..])
        {
            return await Application.RunAsync(arguments, console, CancellationToken.None);
        }

        using var signals = new TerminationSignals(console);
        return await Application.RunAsync(arguments, console, signals.Token);
    }
}
