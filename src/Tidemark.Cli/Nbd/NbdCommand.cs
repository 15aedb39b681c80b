using System.CommandLine;
using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Nbd;

/// <summary><c>tidemark nbd …</c>: disks over the network, without a backup: what qemu-nbd, nbdinfo and nbdcopy
/// do.</summary>
internal static class NbdCommand
{
    /// <summary>The verb.</summary>
    public const string Name = "nbd";

    /// <summary>Builds the verb.</summary>
    public static Command Create(CommandConsole console)
    {
        var command = new Command(Name, "Serve, describe and copy disks over NBD.");
        command.Add(NbdServeCommand.Create(console));
        command.Add(NbdInfoCommand.Create(console));
        command.Add(NbdCopyCommand.Create(console));
        return command;
    }

    /// <summary>Whether this command line asks for a server, to which a signal is the ordinary end.</summary>
    public static bool IsServer(string[] arguments) => arguments is [Name, NbdServeCommand.Name, ..];

    /// <summary>
    /// <c>--map</c> has a value only behind an equals sign, as with nbdinfo; the parser would take the next word for
    /// it.
    /// </summary>
    public static string[] Normalize(string[] arguments) => arguments is [Name, NbdInfoCommand.Name, ..]
        ? [.. arguments.Select(argument => argument == "--map" ? NbdInfoCommand.MapWithDefault : argument)]
        : arguments;
}
