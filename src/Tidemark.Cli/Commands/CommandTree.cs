using System.CommandLine;
using System.CommandLine.Invocation;
using Tidemark.Cli.Domains;
using Tidemark.Cli.Images;
using Tidemark.Cli.Nbd;
using Tidemark.Cli.Plans;
using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Commands;

/// <summary>The program's verbs.</summary>
internal static class CommandTree
{
    /// <summary>What the program is called.</summary>
    public const string ProgramName = "tidemark";

    /// <summary>Builds the tree; each verb writes to the given console.</summary>
    public static RootCommand Create(CommandConsole console)
    {
        var root = new RootCommand("Incremental backups of QEMU/KVM disks, live, in push and pull mode.");
        foreach (var option in root.Options.OfType<VersionOption>())
        {
            option.Action = new VersionAction(console);
        }

        root.Add(DemoCommand.Create(console));
        root.Add(InitCommand.Create(console));
        root.Add(BackupCommand.Create(console));
        root.Add(SnapshotsCommand.Create(console));
        root.Add(RestoreCommand.Create(console));
        root.Add(NbdCommand.Create(console));
        root.Add(DomainCommand.Create(console));
        root.Add(ImageCommand.Create(console));
        root.Add(PlanCommand.Create(console));
        root.Add(StorageDaemonCommand.Create());
        return root;
    }

    private sealed class VersionAction(CommandConsole console) : SynchronousCommandLineAction
    {
        public override int Invoke(ParseResult parseResult)
        {
            console.Output.WriteLine($"{ProgramName} {typeof(CommandTree).Assembly.GetName().Version?.ToString(3)}");
            return ExitCode.Success;
        }
    }
}
