using System.Globalization;
using System.Runtime.InteropServices;
using Tidemark.Qmp;

namespace Tidemark.Engine.Daemon;

// The storage daemon as a process: the options are carried out in the order in which they were given, each through the
// command that does the same over a monitor, so that there is one way to do each thing. Then the process id is written,
// and the daemon serves until a client says quit, or the process gets SIGTERM, SIGINT or SIGHUP. Then everything is
// closed in the engine's order, and the exit code says whether all of it was stored.

/// <summary>Runs the storage daemon: what <c>tidemark storage-daemon</c> does.</summary>
public static class StorageDaemon
{
    /// <summary>The exit code when a persistent bitmap or anything else could not be stored at the end, or set up at
    /// the beginning.</summary>
    public const int Failure = 1;

    /// <summary>Runs until <c>quit</c>, a signal, or the token.</summary>
    /// <param name="arguments">The command line, without the verb.</param>
    /// <param name="output">For the help and the version.</param>
    /// <param name="error">For errors.</param>
    /// <param name="cancellationToken">Ends the daemon as a signal would.</param>
    /// <returns>The exit code: 0 when everything was done and stored.</returns>
    public static async Task<int> RunAsync(
        IReadOnlyList<string> arguments, TextWriter output, TextWriter error,
        CancellationToken cancellationToken = default)
    {
        try
        {
            var options = StorageDaemonOptions.Parse(arguments);
            if (options.Help || options.Version)
            {
                var text = options.Help ? StorageDaemonHelp.Text : $"tidemark storage-daemon {EngineVersion.Program}";
                await output.WriteLineAsync(text.AsMemory(), cancellationToken).ConfigureAwait(false);
                return 0;
            }

            await ServeAsync(options, cancellationToken).ConfigureAwait(false);
            return 0;
        }
        catch (Exception exception) when (exception
            is StorageDaemonException or QmpException or Blocks.Nodes.BlockException
            or IOException or UnauthorizedAccessException)
        {
            await error.WriteLineAsync(
                $"tidemark storage-daemon: {exception.Message}".AsMemory(), CancellationToken.None)
                .ConfigureAwait(false);
            return Failure;
        }
    }

    private static async Task ServeAsync(StorageDaemonOptions options, CancellationToken cancellationToken)
    {
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        void End(PosixSignalContext context)
        {
            context.Cancel = true;
            ending.Cancel();
        }

        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, End);
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, End);
        using var hangUp = PosixSignalRegistration.Create(PosixSignal.SIGHUP, End);
        List<MonitorListener> monitors = [];
        var engine = new StorageEngine();
        try
        {
            await SetUpAsync(engine, options, monitors, ending.Token).ConfigureAwait(false);
            if (options.PidFile is { } pidFile)
            {
                // Renamed into place: whoever waits for the file finds it whole.
                var id = Environment.ProcessId.ToString(CultureInfo.InvariantCulture);
                await File.WriteAllTextAsync(pidFile + ".new", id + "\n", ending.Token).ConfigureAwait(false);
                File.Move(pidFile + ".new", pidFile, overwrite: true);
            }

            monitors.ForEach(monitor => monitor.BeginServing());
            await engine.QuitRequested.WaitAsync(ending.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (ending.IsCancellationRequested)
        {
            // A signal: as good as quit.
        }
        finally
        {
            foreach (var monitor in monitors)
            {
                await monitor.DisposeAsync().ConfigureAwait(false);
            }

            await engine.DisposeAsync().ConfigureAwait(false);
            if (options.PidFile is { } pidFile)
            {
                File.Delete(pidFile);
            }
        }
    }

    private static async Task SetUpAsync(
        StorageEngine engine, StorageDaemonOptions options, List<MonitorListener> monitors,
        CancellationToken cancellationToken)
    {
        Dictionary<string, ChardevOptions> chardevs = new(StringComparer.Ordinal);
        foreach (var (option, text) in options.Steps)
        {
            try
            {
                switch (option)
                {
                    case "chardev":
                        var chardev = ChardevOptions.Parse(text);
                        if (!chardevs.TryAdd(chardev.Id, chardev))
                        {
                            throw new StorageDaemonException($"Duplicate chardev '{chardev.Id}'");
                        }

                        break;
                    case "monitor":
                        monitors.Add(
                            await StartMonitorAsync(engine, text, chardevs, cancellationToken).ConfigureAwait(false));
                        break;
                    default:
                        await ExecuteAsync(engine, option, text, cancellationToken).ConfigureAwait(false);
                        break;
                }
            }
            catch (QmpException exception)
            {
                throw new StorageDaemonException($"--{option} {text}: {exception.Description}", exception);
            }
        }
    }

    private static async Task ExecuteAsync(
        StorageEngine engine, string option, string text, CancellationToken cancellationToken)
    {
        var (command, impliedKey) = option switch
        {
            "blockdev" => ("blockdev-add", "driver"),
            "nbd-server" => ("nbd-server-start", null),
            _ => ("block-export-add", "type"),
        };
        var arguments = StorageDaemonOptions.ToArguments(text, impliedKey);
        await engine.ExecuteAsync(command, arguments, cancellationToken).ConfigureAwait(false);
    }

    private static async Task<MonitorListener> StartMonitorAsync(
        StorageEngine engine, string text, Dictionary<string, ChardevOptions> chardevs,
        CancellationToken cancellationToken)
    {
        var arguments = StorageDaemonOptions.ToArguments(text, "chardev");
        var name = arguments.GetString("chardev");
        arguments.FindString("id");
        arguments.FindChoice("mode", "control");
        if (arguments.FindBoolean("pretty") == true)
        {
            throw arguments.NotSupported("pretty");
        }

        arguments.CheckNothingLeft();
        return chardevs.Remove(name, out var chardev)
            ? await MonitorListener.StartAsync(engine, chardev, cancellationToken).ConfigureAwait(false)
            : throw new StorageDaemonException($"--monitor {text}: chardev \"{name}\" not found, or in use already");
    }
}
