using System.CommandLine;
using System.Globalization;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Domains;
using Tidemark.Backup.Journal;
using Tidemark.Backup.Running;
using Tidemark.Backup.Xml;
using Tidemark.Cli.Sources;
using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Domains;

/// <summary><c>backup-begin [BACKUPXML [CHECKPOINTXML]]</c>.</summary>
internal sealed class BackupBeginVerb
{
    private readonly DomainContext _context;
    private readonly Command _command = new("backup-begin", "Begin a backup; it goes on when this command has ended.");

    private readonly Func<ParseResult, string?> _backup;
    private readonly Func<ParseResult, string?> _checkpoint;
    private readonly Option<bool> _reuse;
    private readonly Option<bool> _wait;
    private readonly Option<bool> _fallback;
    private readonly Option<bool> _keep;
    private readonly Option<string?> _granularity;
    private readonly Option<string?> _tls;
    private readonly Option<bool> _nbdRuns;
    private readonly Option<string[]> _secretFiles = SecretFileOption.Create();

    private readonly Option<double?> _clientTimeout = new("--client-timeout")
    {
        Description = "With --wait, pull: give the backup up when its client has been gone for that long.",
        HelpName = "SECONDS",
    };

    private BackupBeginVerb(DomainContext context)
    {
        _context = context;
        _backup = _command.AddEither(
            "BACKUPXML",
            "--backupxml",
            "FILE",
            "What to back up (libvirt's domainbackup); '-' is standard input. Default: push, all disks.");
        _checkpoint = _command.AddEither(
            "CHECKPOINTXML",
            "--checkpointxml",
            "FILE",
            "A checkpoint to make at the same instant (domaincheckpoint).");
        _reuse = _command.AddFlag(
            "--reuse-external", "Targets and scratch files exist already and are used as they are.");
        _wait = _command.AddFlag("--wait", "Follow the backup to its end.");
        _fallback = _command.AddFlag(
            "--fallback-full", "Back a disk up whole if its bitmap cannot be trusted, instead of refusing the backup.");
        _keep = _command.AddFlag(
            "--keep-checkpoint", "Keep the new checkpoint although the backup fails or is given up.");
        _granularity = _command.AddText(
            "--granularity", "SIZE", "Bytes per bit of the new checkpoint's bitmaps.");
        _tls = _command.AddText(
            "--tls-dir", "DIR", "Where the hypervisor has the certificates of its NBD server.");
        _nbdRuns = _command.AddFlag(
            "--nbd-running", "The hypervisor's NBD server runs at that address already; it is not stopped.");
        _command.Add(_secretFiles);
        _command.Add(_clientTimeout);
        _command.SetAction(RunAsync);
    }

    /// <summary>Builds the verb.</summary>
    public static Command Create(DomainContext context) => new BackupBeginVerb(context)._command;

    /// <summary>Reads a size option.</summary>
    public static long? ReadSize(string option, string? text) =>
        text is null ? null
        : ByteSize.TryParse(text, out var bytes) ? bytes
        : throw new UsageException($"{option} '{text}' is no size");

    private Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        var request = ReadRequest(parsed);
        var timeout = VerbOptions.ReadSeconds("--client-timeout", parsed.GetValue(_clientTimeout));
        var isAtRest = _context.IsAtRest(parsed);
        var waits = parsed.GetValue(_wait) || isAtRest;
        if (timeout is not null && !(waits && request.Backup.Mode == BackupMode.Pull))
        {
            throw new UsageException("--client-timeout is for a pull with --wait: otherwise nobody watches");
        }

        if (isAtRest && request.Backup.Mode == BackupMode.Pull)
        {
            throw new UsageException(
                "a pull of an image at rest has nobody to change the image meanwhile: serve it with 'nbd serve', or "
                + "push");
        }

        return _context.RunAsync(parsed, async (options, source) =>
        {
            var service = new DomainService(options, source);
            var job = await service.BeginAsync(request, cancellationToken);
            return waits
                ? await FollowAsync(service, job, timeout, cancellationToken)
                : Begun(job);
        }, cancellationToken);
    }

    private BackupBegin ReadRequest(ParseResult parsed)
    {
        var (backup, checkpoint) = (_backup(parsed), _checkpoint(parsed));
        if (backup == "-" && checkpoint == "-")
        {
            throw new UsageException("only one of the two can be read from standard input");
        }

        return new BackupBegin
        {
            Backup = backup is null
                ? new BackupDefinition()
                : DomainContext.ReadXml(backup, stream => BackupXml.Parse(stream)),
            Checkpoint = checkpoint is null ? null : DomainContext.ReadXml(checkpoint, CheckpointXml.Parse),
            ReuseExternal = parsed.GetValue(_reuse),
            FallBackToFull = parsed.GetValue(_fallback),
            KeepCheckpoint = parsed.GetValue(_keep),
            Granularity = ReadSize("--granularity", parsed.GetValue(_granularity)),
            TlsDirectory = parsed.GetValue(_tls),
            SecretFiles = SecretFileOption.Read(parsed.GetValue(_secretFiles)),
            NbdRuns = parsed.GetValue(_nbdRuns),
        };
    }

    private int Begun(DomainJobInfo job)
    {
        _context.Console.Output.WriteLine("Backup started");
        if (job.Mode == BackupMode.Pull)
        {
            _context.Console.WriteMessage(
                "tidemark: note: when the client has read what it wants: domjobabort. Until then 'event' or --wait "
                + "watch the scratch and the client; without them the scratch is looked at by each command that comes "
                + "along, and not in between");
        }

        return ExitCode.Success;
    }

    private async Task<int> FollowAsync(
        DomainService service, DomainJobInfo begun, TimeSpan? timeout, CancellationToken cancellationToken)
    {
        DomainJobInfo job;
        await using (var progress = new BackupProgressDisplay(_context.Console))
        {
            progress.Phase(begun.Mode == BackupMode.Pull ? "the frozen view is served" : "the hypervisor writes");
            try
            {
                job = await service.FollowAsync(
                    begun.RunId, timeout, info => Report(progress, info), cancellationToken);
            }
            catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
            {
                // Who waits for a backup and stops waiting gives it up.
                job = await service.AbortAsync(givesUp: true, CancellationToken.None);
            }
        }

        JobInfoText.Write(_context.Console.Output, job);
        if (job.Result == JobResult.Completed)
        {
            return ExitCode.Success;
        }

        _context.Console.WriteError(
            $"the backup {job.TypeName.ToLower(CultureInfo.InvariantCulture)}: {job.Error}");
        return ExitCode.Failure;
    }

    private static void Report(BackupProgressDisplay progress, DomainJobInfo info)
    {
        if (info.Mode == BackupMode.Push)
        {
            progress.Report([.. info.Disks.Select(disk => new DiskProgress(
                disk.Name, disk.Done, disk.Total, disk.Done))]);
        }
    }
}
