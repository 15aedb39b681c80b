using System.CommandLine;
using Tidemark.Cli.Commands;
using Tidemark.Cli.Images;
using Tidemark.Cli.Nbd;
using Tidemark.Cli.Terminal;

namespace Tidemark.Cli;

/// <summary>The program without its process: arguments in, exit
/// code out, everything else through the console.</summary>
/// <remarks>Exit codes: see <see cref="ExitCode"/>. Results go to
/// standard output, all else to standard error.</remarks>
internal static class Application
{
    /// <summary>Runs one command line. Never throws: a failure is a line on standard error and an exit code.</summary>
    public static async Task<int> RunAsync(
        string[] arguments, CommandConsole console, CancellationToken cancellationToken)
    {
        try
        {
            // These arguments are QEMU's, not ours: they go through untouched, --help included.
            if (arguments.Length > 0 && arguments[0] == StorageDaemonCommand.Name)
            {
                return await StorageDaemonCommand.RunAsync(arguments[1..], console, cancellationToken);
            }

            // A token that begins with '@' is a name like any other, not a file of arguments.
            var parsed = CommandTree.Create(console).Parse(
                NbdCommand.Normalize(arguments), new ParserConfiguration { ResponseFileTokenReplacer = null });
            if (CommandLineErrors.Of(parsed) is { Count: > 0 } errors)
            {
                return Refuse(parsed, errors, console);
            }

            return await parsed.InvokeAsync(
                new InvocationConfiguration
                {
                    Output = console.Output,
                    Error = console.Error,
                    EnableDefaultExceptionHandler = false,
                    ProcessTerminationTimeout = null,
                },
                cancellationToken);
        }
        catch (UsageException exception)
        {
            console.WriteError(exception.Message);
            return ExitCode.Usage;
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            console.WriteError("stopped; what had been begun was undone");
            return ExitCode.Failure;
        }
#pragma warning disable CA1031 // The top of the process: every failure becomes a line and an exit code.
        catch (Exception exception)
#pragma warning restore CA1031
        {
            foreach (var line in ErrorText.Lines(exception))
            {
                console.WriteError(line);
            }

            if (console.IsDebug)
            {
                console.WriteMessage(exception.ToString());
            }

            return ExitCode.Failure;
        }
    }

    private static int Refuse(ParseResult parsed, IReadOnlyList<string> errors, CommandConsole console)
    {
        foreach (var error in errors)
        {
            console.WriteError(error);
        }

        var command = parsed.CommandResult.Command;
        var path = string.Join(' ', Verbs(command).Reverse().Prepend(CommandTree.ProgramName));
        console.WriteMessage($"Try '{path} --help'.");
        return ImageCommand.UsageCode(CommandResultPath.Of(parsed)) ?? ExitCode.Usage;
    }

    private static IEnumerable<string> Verbs(Command command)
    {
        var verb = command;
        while (verb is not (null or RootCommand))
        {
            yield return verb.Name;
            verb = verb.Parents.OfType<Command>().FirstOrDefault();
        }
    }
}
