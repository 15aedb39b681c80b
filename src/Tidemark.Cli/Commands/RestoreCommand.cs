using System.CommandLine;
using Spectre.Console;
using Tidemark.Backup.Restore;
using Tidemark.Cli.Terminal;
using Tidemark.Repository.Backends;

namespace Tidemark.Cli.Commands;

/// <summary><c>tidemark restore SNAPSHOT[:DISK]</c>: writes the disks of a restore point to files.</summary>
internal sealed class RestoreCommand
{
    private readonly CommandConsole _console;
    private readonly Command _command =
        new("restore", "Restore a disk to a file, or all disks of a restore point into a directory.");

    private readonly Argument<string> _snapshot = new("SNAPSHOT[:DISK]")
    {
        Description = "The restore point: 'latest', an id or the first digits of one; and the disk, or all of them.",
    };

    private readonly Option<string> _to = new("--to", "-t")
    {
        Description = "A file for one disk; a directory for several, as DISK.raw or DISK.qcow2.",
        HelpName = "PATH",
        Required = true,
    };

    private readonly Option<string> _format = new("--format", "-f")
    {
        Description = "The format of what is written; zeroes stay holes in both.",
        HelpName = "raw|qcow2",
        DefaultValueFactory = _ => "raw",
    };

    private readonly Option<string?> _name = new("--name", "-n")
    {
        Description = "The virtual machine that 'latest' means. Default: any.",
        HelpName = "VM",
    };

    private readonly Option<bool> _force = new("--force") { Description = "Replace a file that exists." };
    private readonly Option<bool> _json;
    private readonly RepositoryOptions _repository;

    private RestoreCommand(CommandConsole console)
    {
        _console = console;
        _format.AcceptOnlyFromAmong("raw", "qcow2");
        _command.Add(_snapshot);
        _repository = new RepositoryOptions(_command);
        _command.Add(_to);
        _command.Add(_format);
        _command.Add(_name);
        _command.Add(_force);
        _json = JsonOption.AddTo(_command);
        _command.SetAction(RunAsync);
    }

    /// <summary>Builds the verb.</summary>
    public static Command Create(CommandConsole console) => new RestoreCommand(console)._command;

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        var (snapshot, disk) = RestoreRequest.ParseReference(parsed.GetRequiredValue(_snapshot));
        var to = parsed.GetRequiredValue(_to);
        if (snapshot.Length == 0 || disk is { Length: 0 } || to.Length == 0)
        {
            throw new UsageException("write SNAPSHOT or SNAPSHOT:DISK, and --to PATH; none of them may be empty");
        }

        var request = new RestoreRequest
        {
            Snapshot = snapshot,
            Disk = disk,
            VmName = parsed.GetValue(_name),
            To = to,
            Format = parsed.GetRequiredValue(_format) == "qcow2" ? RestoreFormat.Qcow2 : RestoreFormat.Raw,
            Force = parsed.GetValue(_force),
        };
        var password = _repository.Password(parsed, _console);
        await using var repository = await Repository.Repository.OpenAsync(
            new LocalBackend(_repository.Path(parsed)), password, cancellationToken: cancellationToken);

        // Nobody may prune what is being read.
        await using var held = await repository.LockAsync(cancellationToken);
        RestoreReport report;
        await using (var progress = new BackupProgressDisplay(_console))
        {
            report = await new RestoreService(_console.Time).RunAsync(request, repository, progress, cancellationToken);
        }

        if (parsed.GetValue(_json))
        {
            JsonOutput.Write(_console, report.WriteTo);
        }
        else
        {
            WriteText(report);
        }

        return ExitCode.Success;
    }

    private void WriteText(RestoreReport report)
    {
        _console.Results.MarkupLineInterpolated(
            $"restored from [bold]{report.SnapshotId[..BackupReportText.ShortIdLength]}[/]");
        var table = ResultTable.Create("disk", ">size", ">written", ">took", "file");
        foreach (var disk in report.Disks)
        {
            table.AddCells(
                disk.Disk,
                ByteSize.Format(disk.Size),
                ByteSize.Format(disk.BytesWritten),
                Duration.Format(TimeSpan.FromSeconds(disk.Seconds)),
                disk.Path);
        }

        table.WriteTo(_console, indent: 2);
    }
}
