using Tidemark.Backup.Definitions;
using Tidemark.Backup.Restore;
using Tidemark.Backup.Running;
using Tidemark.Cli.Terminal;
using Tidemark.Repository.Backends;

namespace Tidemark.Cli.Demo;

// The demo, step by step:
//
//   1 set up     a qcow2 disk on the embedded engine, exported over NBD to the guest; an empty repository
//   2 install    the guest writes a quarter of the disk
//   3 point 1    full, pull
//   4 work       the guest writes here and there
//   5 point 2    incremental, push
//   6 work       the guest writes again, and does not stop
//   7 point 3    incremental, pull, while the guest goes on writing over what is being read
//   8 judge      every point is restored, and compared byte by byte with what the guest's own log says the disk was
//   9 clean      nothing may be left on the engine or in the directory
//
// What is compared with is made from the guest's log by code that shares nothing with the engine or the repository; see
// InstantJudge. The guest is never paused for a backup.

/// <summary>Carries out the demo in a directory.</summary>
internal sealed class DemoRun
{
    /// <summary>The password of the demo's repository: whoever keeps the directory can open it.</summary>
    public const string Password = "demo";

    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(1);

    private readonly DemoOptions _options;
    private readonly string _directory;
    private readonly string _socketDirectory;
    private readonly CommandConsole _console;
    private readonly BackupService _service;
    private readonly List<DemoPoint> _points = [];
    private string? _checkpoint;

    /// <summary>Prepares a run.</summary>
    /// <param name="options">What to do.</param>
    /// <param name="directory">An empty directory for the files.</param>
    /// <param name="socketDirectory">A directory with a short name, for the socket.</param>
    /// <param name="console">Where progress is shown.</param>
    public DemoRun(DemoOptions options, string directory, string socketDirectory, CommandConsole console)
    {
        _options = options;
        _directory = directory;
        _socketDirectory = socketDirectory;
        _console = console;
        _service = new BackupService(new BackupServiceOptions { StateDirectory = File("state"), Time = console.Time });
    }

    /// <summary>Runs it all.</summary>
    public async Task<DemoReport> RunAsync(CancellationToken cancellationToken)
    {
        var started = _console.Time.GetTimestamp();
        Directory.CreateDirectory(File("restored"));
        Directory.CreateDirectory(File("expected"));
        await using var repository = await Repository.Repository.InitializeAsync(
            new LocalBackend(File("repo")), Password, cancellationToken: cancellationToken);
        IReadOnlyList<string> leftovers;
        GuestLog log;
        await using (var engine = await DemoEngine.StartAsync(
            File("disk.qcow2"), _options.Length, Path.Combine(_socketDirectory, "nbd.sock"), _console.Time,
            cancellationToken))
        {
            await using var disk = await engine.ConnectGuestAsync(cancellationToken);
            var guest = new DemoGuest(disk, _options.Seed);
            log = guest.Log;
            await BackUpAllAsync(engine, guest, repository, cancellationToken);
            leftovers = [.. await engine.FindLeftoversAsync(_checkpoint, cancellationToken), .. FindFiles()];
        }

        for (var index = 0; index < _points.Count; index++)
        {
            _points[index] = await JudgeAsync(_points[index], repository, log, cancellationToken);
        }

        return new DemoReport
        {
            DiskLength = _options.Length,
            Points = _points,
            WriteCount = log.AcknowledgedCount,
            Leftovers = leftovers,
            Time = _console.Time.GetElapsedTime(started),
        };
    }

    private async Task BackUpAllAsync(
        DemoEngine engine, DemoGuest guest, Repository.Repository repository, CancellationToken cancellationToken)
    {
        var workLength = _options.Length / 24;
        await using (var progress = new ProgressMeter(_console, "the guest installs", _options.Length / 4))
        {
            await guest.InstallAsync(written => progress.Report(written), cancellationToken);
        }

        await BackUpAsync(engine, guest.Log, repository, BackupMode.Pull, cancellationToken);
        await WorkAsync(guest, workLength, cancellationToken);
        await BackUpAsync(engine, guest.Log, repository, BackupMode.Push, cancellationToken);
        await WorkAsync(guest, workLength, cancellationToken);

        using var stop = new CancellationTokenSource();
        var working = guest.WorkUntilAsync(s_pause, _console.Time, stop.Token);
        try
        {
            await BackUpAsync(engine, guest.Log, repository, BackupMode.Pull, cancellationToken);
        }
        finally
        {
            await stop.CancelAsync();
            await working;
        }
    }

    private async Task WorkAsync(DemoGuest guest, long length, CancellationToken cancellationToken)
    {
        await using var progress = new ProgressMeter(_console, "the guest works");
        await guest.WorkAsync(length, cancellationToken);
    }

    private async Task BackUpAsync(
        DemoEngine engine,
        GuestLog log,
        Repository.Repository repository,
        BackupMode mode,
        CancellationToken cancellationToken)
    {
        InstantRecorder? recorder = null;
        var source = new HypervisorSource("demo", async token =>
            recorder = new InstantRecorder(await engine.ConnectMonitorAsync(token), log));
        var request = new BackupRequest
        {
            VmName = "demo",
            Mode = mode,
            NbdUri = mode == BackupMode.Pull ? engine.NbdUri : null,
        };
        var started = _console.Time.GetTimestamp();
        BackupReport report;
        await using (var progress = new BackupProgressDisplay(
            _console, $"backup {_points.Count + 1} of 3", showsNotes: false))
        {
            report = await _service.RunAsync(request, source, repository, progress, cancellationToken);
        }

        if (recorder is not { First: { } first, Last: { } last })
        {
            throw new CliException("the backup ran without a transaction: it has no instant");
        }

        var disk = report.Disks.Single();
        _checkpoint = report.Checkpoint;
        _points.Add(new DemoPoint
        {
            Number = _points.Count + 1,
            SnapshotId = report.SnapshotId,
            Mode = report.Mode.ToText(),
            Kind = disk.Kind.ToText(),
            DirtyBytes = disk.BytesDirty,
            ReadBytes = disk.BytesRead,
            StoredBytes = disk.BytesStored,
            BackupTime = _console.Time.GetElapsedTime(started),
            FirstInstant = first,
            LastInstant = last,
            WritesMeanwhile = log.AcknowledgedCount - last,
        });
    }

    private async Task<DemoPoint> JudgeAsync(
        DemoPoint point, Repository.Repository repository, GuestLog log, CancellationToken cancellationToken)
    {
        var restoredPath = File($"restored/{point.Number}.raw");
        var expectedPath = File($"expected/{point.Number}.raw");
        var started = _console.Time.GetTimestamp();
        await using (var progress = new BackupProgressDisplay(_console, $"restore {point.Number} of {_points.Count}"))
        {
            var request =
                new RestoreRequest { Snapshot = point.SnapshotId, Disk = DemoEngine.DiskName, To = restoredPath };
            await new RestoreService(_console.Time).RunAsync(request, repository, progress, cancellationToken);
        }

        var restoreTime = _console.Time.GetElapsedTime(started);

        int? instant;
        await using (new ProgressMeter(_console, $"comparing point {point.Number} of {_points.Count}"))
        using (var expected = DiskImage.Create(expectedPath, _options.Length))
        using (var restored = DiskImage.Open(restoredPath))
        {
            expected.Apply(log.Between(0, point.FirstInstant), cancellationToken);
            instant = InstantJudge.FindInstant(
                log, expected, restored, point.FirstInstant, point.LastInstant, cancellationToken);
        }

        if (_options.Keep is null)
        {
            System.IO.File.Delete(restoredPath);
            System.IO.File.Delete(expectedPath);
        }

        return point with { RestoreTime = restoreTime, Instant = instant };
    }

    // Whatever lies beside the files that the demo itself put there.
    private IEnumerable<string> FindFiles() =>
        Directory.EnumerateFileSystemEntries(_directory).Select(path => Path.GetFileName(path))
            .Except(["disk.qcow2", "repo", "restored", "expected", "state"])
            .Concat(Directory.EnumerateFiles(File("state"), "journal", SearchOption.AllDirectories))
            .Select(name => $"file {name}");

    private string File(string name) => Path.Combine(_directory, name);
}
