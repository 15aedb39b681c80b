using System.CommandLine;
using System.Globalization;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Xml;
using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Plans;

/// <summary><c>plan xml backup</c> and <c>plan xml checkpoint</c>: a definition after its defaults, as libvirt prints
/// it.</summary>
internal static class XmlPlans
{
    /// <summary>Builds the verb.</summary>
    public static Command Create(CommandConsole console) => new(
        "xml", "A backup's or checkpoint's XML after its defaults, as libvirt prints it.")
    {
        Backup(console), Checkpoint(console),
    };

    private static Command Backup(CommandConsole console)
    {
        var command = new Command("backup", "The XML of a domainbackup after its defaults.");
        var disks = Disks(command);
        var suffix = new Option<string?>("--suffix")
        {
            Description = "What names a file that the XML does not name. Default: the seconds since 1970.",
            HelpName = "S",
        };
        var status = new Option<bool>("--status")
        {
            Description = "The XML is a running backup's: it may hold state, index and privateData.",
        };
        var file = File(command);
        command.Add(suffix);
        command.Add(status);
        command.SetAction(parsed =>
        {
            using var stream = System.IO.File.OpenRead(parsed.GetRequiredValue(file));
            var backup = BackupXml.Parse(stream, parsed.GetValue(status));
            console.Output.Write(BackupXml.Format(BackupAlignment.Align(
                backup,
                DiskList.Parse(parsed.GetRequiredValue(disks)),
                parsed.GetValue(suffix) ?? Now(console).ToString(CultureInfo.InvariantCulture))));
            return ExitCode.Success;
        });
        return command;
    }

    private static Command Checkpoint(CommandConsole console)
    {
        var command = new Command("checkpoint", "The XML of a domaincheckpoint after its defaults.");
        var disks = Disks(command);
        var time = new Option<long?>("--time")
        {
            Description = "When it is made, in seconds since 1970. Default: now.",
            HelpName = "SECONDS",
        };
        var parent = new Option<string?>("--parent")
        {
            Description = "The current checkpoint. Default: there is none.",
            HelpName = "NAME",
        };
        var redefine = new Option<bool>("--redefine")
        {
            Description = "The XML describes a checkpoint that was made before: its time and parent are kept.",
        };
        var file = File(command);
        command.Add(time);
        command.Add(parent);
        command.Add(redefine);
        command.SetAction(parsed =>
        {
            using var stream = System.IO.File.OpenRead(parsed.GetRequiredValue(file));
            var checkpoint = CheckpointXml.Parse(stream);
            var all = DiskList.Parse(parsed.GetRequiredValue(disks));
            console.Output.Write(CheckpointXml.Format(parsed.GetValue(redefine)
                ? CheckpointAlignment.AlignRedefinition(checkpoint, all)
                : CheckpointAlignment.Align(
                    checkpoint, all, parsed.GetValue(time) ?? Now(console), parsed.GetValue(parent))));
            return ExitCode.Success;
        });
        return command;
    }

    private static long Now(CommandConsole console) => console.Time.GetUtcNow().ToUnixTimeSeconds();

    private static Option<string> Disks(Command command)
    {
        var option = new Option<string>("--disks")
        {
            Description = "The virtual machine's disks in their order: the target's name, the image, its format.",
            HelpName = DiskList.Form,
            Required = true,
        };
        command.Add(option);
        return option;
    }

    private static Argument<string> File(Command command)
    {
        var argument = new Argument<string>("FILE") { Description = "The XML." };
        command.Add(argument);
        return argument;
    }
}
