using System.CommandLine;
using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Images;

/// <summary><c>tidemark image</c>: qemu-img's verbs.</summary>
internal static class ImageCommand
{
    /// <summary>The command's name.</summary>
    public const string Name = "image";

    /// <summary>Builds the command with its verbs.</summary>
    public static Command Create(CommandConsole console)
    {
        var command = new Command(Name, "Create, describe, check, copy and change disk images, as qemu-img does.")
        {
            new BitmapVerb(console).Command,
            new CheckVerb(console).Command,
            new CommitVerb(console).Command,
            new CompareVerb(console).Command,
            new ConvertVerb(console).Command,
            new CreateVerb(console).Command,
            new InfoVerb(console).Command,
            new MapVerb(console).Command,
            new MeasureVerb(console).Command,
            new RebaseVerb(console).Command,
            new ResizeVerb(console).Command,
        };
        return command;
    }

    /// <summary>The exit code of a wrong command line: qemu-img's 1, where 2 says something of the image; of compare,
    /// where 1 does, 2.</summary>
    public static int? UsageCode(CommandResultPath path) => path switch
    {
        { IsImage: false } => null,
        { Verb: CompareVerb.Name } => CompareVerb.Failed,
        _ => ExitCode.Failure,
    };
}
