using Tidemark.Cli.Commands;
using Tidemark.Cli.Nbd;
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

        using var signals = new TerminationSignals(
            console,
            NbdCommand.IsServer(arguments)
                ? "tidemark: stopping when the requests under way have finished (once more to stop at once)"
                : "tidemark: stopping, undoing what was begun (once more to stop at once)");
        return await Application.RunAsync(arguments, console, signals.Token);
    }
}
