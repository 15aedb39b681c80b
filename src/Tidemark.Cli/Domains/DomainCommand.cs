using System.CommandLine;
using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Domains;

/// <summary><c>tidemark domain VERB --monitor SOURCE</c>: virsh's operations on any monitor.</summary>
internal static class DomainCommand
{
    /// <summary>Builds the verbs.</summary>
    public static Command Create(CommandConsole console)
    {
        var command = new Command(
            "domain", "Backups, checkpoints and changes of one virtual machine, with virsh's names, on any monitor.");
        var context = new DomainContext(console, command);
        BackupVerbs.AddTo(command, context);
        CheckpointVerbs.AddTo(command, context);
        CheckpointListVerb.AddTo(command, context);
        ChangeVerbs.AddTo(command, context);
        return command;
    }
}
