using System.CommandLine;
using Spectre.Console;
using Tidemark.Cli.Demo;
using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Commands;

/// <summary><c>tidemark demo</c>: the whole tour on real files.</summary>
internal sealed class DemoCommand
{
    private readonly CommandConsole _console;
    private readonly Command _command = new(
        "demo", "The whole tour on real files: a disk in use, three backups, every restore compared byte by byte.");

    private readonly Option<string?> _keep = new("--keep")
    {
        Description =
            "Work in this directory (new or empty) and keep it: image, repository, restored and expected disks.",
        HelpName = "DIR",
    };

    private readonly Option<string> _size = new("--size")
    {
        Description = "The size of the disk; a quarter of it is filled.",
        HelpName = "SIZE",
        DefaultValueFactory = _ => "1G",
    };

    private readonly Option<ulong> _seed = new("--seed")
    {
        Description = "The seed of what the guest writes.",
        HelpName = "N",
        DefaultValueFactory = _ => 1,
    };

    private DemoCommand(CommandConsole console)
    {
        _console = console;
        _command.Add(_keep);
        _command.Add(_size);
        _command.Add(_seed);
        _command.SetAction(RunAsync);
    }

    /// <summary>Builds the verb.</summary>
    public static Command Create(CommandConsole console) => new DemoCommand(console)._command;

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        var options = Options(parsed);
        _console.Results.MarkupLine(
            "[bold]A guest writes to its disk; three backups; every restore compared byte by byte.[/]");
        _console.Output.WriteLine(
            $"  The disk: qcow2, {ByteSize.Format(options.Length)}, of which the guest "
            + $"fills {ByteSize.Format(options.Length / 4)} "
            + "with text, binaries and recurring blocks.");

        // A socket's path is short by nature; a directory to keep may be anywhere.
        var temporary = Directory.CreateTempSubdirectory("tidemark-demo-");
        try
        {
            var directory = options.Keep ?? temporary.CreateSubdirectory("files").FullName;
            var report =
                await new DemoRun(options, directory, temporary.FullName, _console).RunAsync(cancellationToken);
            report.Write(_console);
            if (options.Keep is not null)
            {
                _console.Output.WriteLine(
                    $"  Kept in {directory}. The repository is restic's too: "
                    + $"RESTIC_PASSWORD={DemoRun.Password} restic -r {Path.Combine(directory, "repo")} snapshots");
            }

            return report.IsGood ? ExitCode.Success : ExitCode.Failure;
        }
        finally
        {
            temporary.Delete(recursive: true);
        }
    }

    private DemoOptions Options(ParseResult parsed)
    {
        if (!ByteSize.TryParse(parsed.GetRequiredValue(_size), out var length)
            || length < DemoOptions.MinimumLength || length % DemoOptions.LengthUnit != 0)
        {
            throw new UsageException(
                $"--size: give a multiple of {ByteSize.Format(DemoOptions.LengthUnit)}, at least "
                + ByteSize.Format(DemoOptions.MinimumLength));
        }

        var keep = parsed.GetValue(_keep);
        if (keep is not null)
        {
            keep = Path.GetFullPath(keep);
            if (File.Exists(keep) || (Directory.Exists(keep) && Directory.EnumerateFileSystemEntries(keep).Any()))
            {
                throw new UsageException($"--keep: '{keep}' is not empty; nothing was changed");
            }

            Directory.CreateDirectory(keep);
        }

        return new DemoOptions { Length = length, Keep = keep, Seed = parsed.GetValue(_seed) };
    }
}
