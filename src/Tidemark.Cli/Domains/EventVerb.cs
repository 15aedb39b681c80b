using System.CommandLine;
using System.Globalization;
using Tidemark.Backup.Domains;

namespace Tidemark.Cli.Domains;

/// <summary><c>event [--event NAME] [--timeout S] [--loop]</c>: waits for what happens to the domain's
/// backups.</summary>
internal static class EventVerb
{
    private const string LastEvent = "job-completed";

    /// <summary>Builds the verb.</summary>
    public static Command Create(DomainContext context)
    {
        var command = new Command(
            "event", "Print the events of backups until one has ended; finishes it, and watches it meanwhile.");
        var timeout = new Option<double?>("--timeout")
        {
            Description = "Give up after that time; the exit code is then 1 if no event came.",
            HelpName = "SECONDS",
        };
        command.Add(timeout);
        var name = command.AddText("--event", "NAME", "Only events of that name.");
        name.AcceptOnlyFromAmong([.. DomainEvent.Names]);
        var all = command.AddFlag("--all", "Events of every name, as without --event.");
        var loop = command.AddFlag("--loop", "Go on after the end of a backup.");
        var timestamp = command.AddFlag("--timestamp", "Say when each event came.");
        var list = command.AddFlag("--list", "Print the names of the events.");
        var clientTimeout = new Option<double?>("--client-timeout")
        {
            Description = "Give a pull up when its client has been gone for that long.",
            HelpName = "SECONDS",
        };
        command.Add(clientTimeout);
        command.SetAction((parsed, token) =>
        {
            if (parsed.GetValue(list))
            {
                context.Console.Output.WriteLine(string.Join('\n', DomainEvent.Names));
                return Task.FromResult(ExitCode.Success);
            }

            if (parsed.GetValue(all) && parsed.GetValue(name) is not null)
            {
                throw new UsageException("--all and --event are two choices");
            }

            var limit = VerbOptions.ReadSeconds("--timeout", parsed.GetValue(timeout)) ?? Timeout.InfiniteTimeSpan;
            var clientLimit = VerbOptions.ReadSeconds("--client-timeout", parsed.GetValue(clientTimeout));
            return context.RunAsync(parsed, (options, source) => WatchAsync(
                context,
                new DomainService(options, source),
                options.DomainName ?? source.Name,
                limit,
                clientLimit,
                parsed.GetValue(name),
                parsed.GetValue(loop),
                parsed.GetValue(timestamp),
                token), token);
        });
        return command;
    }

    private static async Task<int> WatchAsync(
        DomainContext context,
        DomainService service,
        string domain,
        TimeSpan limit,
        TimeSpan? clientLimit,
        string? name,
        bool loop,
        bool timestamp,
        CancellationToken cancellationToken)
    {
        var count = 0;
        using var timer = new CancellationTokenSource(limit, context.Console.Time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timer.Token, cancellationToken);
        try
        {
            await service.WatchAsync(
                one =>
                {
                    if (name is null || one.Name == name)
                    {
                        count++;
                        Print(context, one, domain, timestamp);
                    }

                    return loop || (name is null ? one.Name != LastEvent : one.Name != name);
                },
                clientLimit,
                either.Token);
        }
        catch (OperationCanceledException) when (timer.IsCancellationRequested)
        {
            context.Console.WriteMessage("event loop timed out");
        }

        context.Console.Output.WriteLine($"events received: {count}");
        return count > 0 ? ExitCode.Success : ExitCode.Failure;
    }

    private static void Print(DomainContext context, DomainEvent one, string domain, bool timestamp)
    {
        var when = timestamp
            ? one.At.UtcDateTime.ToString("yyyy-MM-dd HH:mm:ss.fff'+0000: '", CultureInfo.InvariantCulture)
            : "";
        var text = one.Text.Contains('\n')
            ? "\n\t" + one.Text.Replace("\n", "\n\t", StringComparison.Ordinal)
            : " " + one.Text;
        context.Console.Output.WriteLine($"{when}event '{one.Name}' for domain '{domain}':{text}");
    }
}
