using System.CommandLine;
using System.Globalization;
using Tidemark.Backup.Domains;
using Tidemark.Cli.Commands;
using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Domains;

/// <summary><c>backup-begin</c>, <c>backup-dumpxml</c>, <c>domjobinfo</c>, <c>domjobabort</c>, <c>event</c>.</summary>
internal static class BackupVerbs
{
    /// <summary>Adds the verbs.</summary>
    public static void AddTo(Command domain, DomainContext context)
    {
        domain.Add(BackupBeginVerb.Create(context));
        domain.Add(Dump(context));
        domain.Add(JobInfo(context));
        domain.Add(JobAbort(context));
        domain.Add(EventVerb.Create(context));
    }

    private static Command Dump(DomainContext context)
    {
        var command = new Command("backup-dumpxml", "Print the definition of the backup that runs, with its defaults.");
        command.SetAction((parsed, token) => context.RunAsync(parsed, async (options, source) =>
        {
            context.Console.Output.Write(await new DomainService(options, source).DumpAsync(token));
            return ExitCode.Success;
        }, token));
        return command;
    }

    private static Command JobInfo(DomainContext context)
    {
        var command = new Command("domjobinfo", "Say how the backup goes that runs.");
        var completed = new Option<bool>("--completed") { Description = "The last one that ended instead." };
        var rawStats = new Option<bool>("--rawstats") { Description = "The figures, as libvirt names them." };
        command.Add(completed);
        command.Add(rawStats);
        var json = JsonOption.AddTo(command);
        command.SetAction((parsed, token) => context.RunAsync(parsed, async (options, source) =>
        {
            var service = new DomainService(options, source);
            var job = parsed.GetValue(completed)
                ? await service.ReadCompletedAsync(token)
                : await service.ReadJobAsync(token);
            if (parsed.GetValue(json))
            {
                JsonOutput.Write(context.Console, writer => JobInfoText.WriteJson(writer, job));
            }
            else if (parsed.GetValue(rawStats))
            {
                JobInfoText.WriteRaw(context.Console.Output, job);
            }
            else
            {
                JobInfoText.Write(context.Console.Output, job);
            }

            return ExitCode.Success;
        }, token));
        return command;
    }

    private static Command JobAbort(DomainContext context)
    {
        var command = new Command(
            "domjobabort",
            "End the backup that runs: a push is given up, a pull has been finished by its client.");
        var giveUp = new Option<bool>("--give-up")
        {
            Description = "A pull was not finished: it counts as cancelled, and its checkpoint goes.",
        };
        command.Add(giveUp);
        command.SetAction((parsed, token) => context.RunAsync(parsed, async (options, source) =>
        {
            var job = await new DomainService(options, source).AbortAsync(parsed.GetValue(giveUp), token);
            context.Console.WriteMessage($"the backup is {job.TypeName.ToLower(CultureInfo.InvariantCulture)}");
            return ExitCode.Success;
        }, token));
        return command;
    }
}
