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
        var name = new Option<string?>("--event") { Description = "Only events of that name.", HelpName = "NAME" };
        name.AcceptOnlyFromAmong([.. DomainEvent.Names]);
        var loop = new Option<bool>("--loop") { Description = "Go on after the end of a backup." };
        var timestamp = new Option<bool>("--timestamp") { Description = "Say when each event came." };
        var list = new Option<bool>("--list") { Description = "Print the names of the events." };
        command.Add(timeout);
        command.Add(name);
        command.Add(loop);
        command.Add(timestamp);
        command.Add(list);
        command.SetAction((parsed, token) =>
        {
            if (parsed.GetValue(list))
            {
                context.Console.Output.WriteLine(string.Join('\n', DomainEvent.Names));
                return Task.FromResult(ExitCode.Success);
            }

            var limit = parsed.GetValue(timeout) is { } seconds
                ? seconds is > 0 and < 1e6 ? TimeSpan.FromSeconds(seconds)
                    : throw new UsageException("--timeout is a number of seconds over zero")
                : Timeout.InfiniteTimeSpan;
            return context.RunAsync(parsed, (options, source) => WatchAsync(
                context,
                new DomainService(options, source),
                options.DomainName ?? source.Name,
                limit,
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
