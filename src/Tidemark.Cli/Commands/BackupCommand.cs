using System.CommandLine;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Journal;
using Tidemark.Backup.Running;
using Tidemark.Blocks.Nodes;
using Tidemark.Cli.Sources;
using Tidemark.Cli.Terminal;
using Tidemark.Repository.Backends;

namespace Tidemark.Cli.Commands;

/// <summary><c>tidemark backup SOURCE</c>: makes one restore point of all disks at one instant.</summary>
internal sealed class BackupCommand
{
    private readonly CommandConsole _console;
    private readonly Command _command =
        new("backup", "Make a restore point: all disks at one instant, incremental if it can be.");

    private readonly Argument<string> _source = new("SOURCE")
    {
        Description = "An image that nobody has open, or a hypervisor's monitor: qmp:PATH or qmp:HOST:PORT.",
    };

    private readonly Option<string> _name = new("--name", "-n")
    {
        Description = "The virtual machine's name in the repository.",
        HelpName = "VM",
        Required = true,
    };

    private readonly Option<string[]> _disks = new("--disk", "-d")
    {
        Description = "A disk, by the hypervisor's node; may be repeated. Without it: all disks of guest devices and "
            + "writable exports.",
        HelpName = "NAME[=NODE]",
    };

    private readonly Option<string> _mode = new("--mode", "-m")
    {
        Description = "pull: the hypervisor exposes a frozen view, Tidemark reads it. push: the hypervisor writes.",
        HelpName = "pull|push",
        DefaultValueFactory = _ => "pull",
    };

    private readonly Option<bool> _full =
        new("--full") { Description = "Read everything, also where an increment is possible." };

    private readonly Option<string?> _nbd = new("--nbd")
    {
        Description =
            "The NBD server that the hypervisor already runs; otherwise Tidemark starts one there and stops it.",
        HelpName = "URI",
    };

    private readonly Option<string?> _format = new("--format", "-f")
    {
        Description = "An image's format. Without: by its first bytes, which a raw disk's guest may have written.",
        HelpName = "raw|qcow2",
    };

    private readonly Option<string?> _stateDirectory = new("--state-dir")
    {
        Description = "Where locks and the journals of runs are kept. Default: the XDG state directory.",
        HelpName = "DIR",
    };

    private readonly Option<bool> _json;
    private readonly RepositoryOptions _repository;

    private BackupCommand(CommandConsole console)
    {
        _console = console;
        _mode.AcceptOnlyFromAmong("pull", "push");
        _format.AcceptOnlyFromAmong("raw", "qcow2");
        _command.Add(_source);
        _repository = new RepositoryOptions(_command);
        _command.Add(_name);
        _command.Add(_disks);
        _command.Add(_mode);
        _command.Add(_full);
        _command.Add(_nbd);
        _command.Add(_format);
        _json = JsonOption.AddTo(_command);
        _command.Add(_stateDirectory);
        _command.SetAction(RunAsync);
    }

    /// <summary>Builds the verb.</summary>
    public static Command Create(CommandConsole console) => new BackupCommand(console)._command;

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        // All of the command line first: what is wrong with it is said before anything is opened.
        var source = BackupSource.Parse(parsed.GetRequiredValue(_source));
        var request = Request(parsed, source);
        source = source is ImageSource one ? one with { Format = parsed.GetValue(_format) } : source;
        var service = new BackupService(new BackupServiceOptions
        {
            StateDirectory =
                parsed.GetValue(_stateDirectory) is { Length: > 0 } path ? path : StateDirectory.DefaultPath,
            Time = _console.Time,
        });
        var password = _repository.Password(parsed, _console);

        var started = _console.Time.GetTimestamp();
        BackupReport report;
        await using (var repository = await Repository.Repository.OpenAsync(
            new LocalBackend(_repository.Path(parsed)), password, cancellationToken: cancellationToken))
        {
            report = source is ImageSource image
                ? await BackUpImageAsync(service, request, image, repository, cancellationToken)
                : await BackUpAsync(service, request, MonitorConnector.Of(source), repository, cancellationToken);
        }

        if (parsed.GetValue(_json))
        {
            JsonOutput.Write(_console, report.WriteTo);
        }
        else
        {
            BackupReportText.Write(report, _console.Time.GetElapsedTime(started), _console);
        }

        return ExitCode.Success;
    }

    private BackupRequest Request(ParseResult parsed, BackupSource source)
    {
        var name = parsed.GetRequiredValue(_name);
        if (DiskName.Refuse(name) is not null)
        {
            throw new UsageException($"--name '{name}' cannot be used: no slash, no control characters, not empty");
        }

        var disks = (parsed.GetValue(_disks) ?? []).Select(DiskOption.Parse).ToList();
        if (disks.GroupBy(disk => disk.Name).FirstOrDefault(group => group.Count() > 1) is { } twice)
        {
            throw new UsageException($"--disk '{twice.Key}' is given twice");
        }

        var nbd = parsed.GetValue(_nbd);
        if (source is ImageSource)
        {
            if (disks.Count > 0 || nbd is not null)
            {
                throw new UsageException(
                    $"--disk and --nbd are for a monitor (qmp:…); an image has one disk, '{ImageSource.DiskName}'");
            }

            disks.Add(new DiskSelection(ImageSource.DiskName));
        }
        else if (parsed.GetValue(_format) is not null)
        {
            throw new UsageException("--format is for an image; a hypervisor knows its disks' formats");
        }

        return new BackupRequest
        {
            VmName = name,
            Disks = disks,
            Mode = parsed.GetRequiredValue(_mode) == "push" ? BackupMode.Push : BackupMode.Pull,
            Full = parsed.GetValue(_full),
            NbdUri = nbd,
        };
    }

    // The scratch of an image at rest stays empty, for nobody writes: it need not lie beside the image.
    private async Task<BackupReport> BackUpImageAsync(
        BackupService service,
        BackupRequest request,
        ImageSource image,
        Repository.Repository repository,
        CancellationToken cancellationToken)
    {
        var scratch = Directory.CreateTempSubdirectory("tidemark-");
        try
        {
            var session = await ImageSession.OpenAsync(
                [(ImageSource.DiskName, image.Path)], image.Format, _console.Time, cancellationToken);
            BackupReport report;
            try
            {
                report = await BackUpAsync(
                    service, request with { ScratchDirectory = scratch.FullName }, session.Source, repository,
                    cancellationToken);
            }
            catch
            {
                await session.CloseAfterFailureAsync(_console);
                throw;
            }

            await CloseAsync(session, report);
            return report;
        }
        finally
        {
            scratch.Delete(recursive: true);
        }
    }

    // The restore point is durable whatever happens here; but a mark that was not stored is worth a failure.
    private static async Task CloseAsync(ImageSession session, BackupReport report)
    {
        try
        {
            await session.DisposeAsync();
        }
        catch (BlockException exception)
        {
            throw new CliException(
                $"restore point {report.SnapshotId[..BackupReportText.ShortIdLength]} is stored, but the image was "
                + "not closed "
                + $"well, so the next backup reads it whole: {exception.Message}",
                exception);
        }
    }

    private async Task<BackupReport> BackUpAsync(
        BackupService service,
        BackupRequest request,
        HypervisorSource source,
        Repository.Repository repository,
        CancellationToken cancellationToken)
    {
        await using var progress = new BackupProgressDisplay(_console);
        return await service.RunAsync(request, source, repository, progress, cancellationToken);
    }
}
