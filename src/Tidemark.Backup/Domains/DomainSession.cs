using Tidemark.Backup.Checkpoints;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Journal;
using Tidemark.Backup.Planning;
using Tidemark.Backup.Running;
using Tidemark.Qmp;

namespace Tidemark.Backup.Domains;

/// <summary>One command's hold on a domain: its folder, its lock, its monitor.</summary>
internal sealed class DomainSession : IAsyncDisposable
{
    private readonly HypervisorSource _source;
    private Dictionary<string, string>? _names;

    private DomainSession(
        DomainServiceOptions options,
        HypervisorSource source,
        DomainFolder folder,
        RunLock? held,
        IMonitor monitor,
        HypervisorCapabilities capabilities)
    {
        _source = source;
        Options = options;
        Folder = folder;
        Held = held;
        Monitor = monitor;
        Capabilities = capabilities;
        Checkpoints = new CheckpointStore(folder.CheckpointsPath);
    }

    internal DomainServiceOptions Options { get; }

    internal DomainFolder Folder { get; }

    internal IMonitor Monitor { get; }

    internal HypervisorCapabilities Capabilities { get; }

    internal CheckpointStore Checkpoints { get; }

    /// <summary>The domain's lock; null when another command holds it and this one only looks.</summary>
    internal RunLock? Held { get; private set; }

    /// <summary>What identifies the domain.</summary>
    internal string DomainName => Options.DomainName ?? _source.Name;

    internal string SourceName => _source.Name;

    /// <summary>The folder of a domain.</summary>
    internal static DomainFolder FolderOf(DomainServiceOptions options, HypervisorSource source) =>
        new(options.State.DomainFolderOf(options.DomainName ?? source.Name));

    /// <summary>Takes the lock, connects, and finishes what earlier commands left to finish.</summary>
    /// <param name="options">The service's options.</param>
    /// <param name="source">The hypervisor.</param>
    /// <param name="onlyLooks">Whether to go on without the lock when another command holds it.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="BackupException">The lock is held, or the hypervisor cannot be reached.</exception>
    internal static async Task<DomainSession> OpenAsync(
        DomainServiceOptions options, HypervisorSource source, bool onlyLooks, CancellationToken cancellationToken)
    {
        var folder = FolderOf(options, source);
        var held = onlyLooks
            ? folder.Run.TryLock()
            : await LockAsync(options, folder, cancellationToken).ConfigureAwait(false);
        IMonitor? monitor = null;
        try
        {
            monitor = await source.ConnectAsync(cancellationToken).ConfigureAwait(false);
            var capabilities = await HypervisorReader.ReadCapabilitiesAsync(monitor, cancellationToken)
                .ConfigureAwait(false);
            var session = new DomainSession(options, source, folder, held, monitor, capabilities);
            if (held is not null)
            {
                await new JobSettler(session).SettleAsync(cancellationToken).ConfigureAwait(false);
            }

            return session;
        }
        catch (Exception exception)
        {
            held?.Dispose();
            if (monitor is not null)
            {
                await monitor.DisposeAsync().ConfigureAwait(false);
            }

            if (exception is QmpException refused)
            {
                throw new BackupException(
                    BackupErrorKind.Hypervisor,
                    refused.Message.Contains(source.Name, StringComparison.Ordinal)
                        ? refused.Message
                        : $"{source.Name}: {refused.Message}",
                    refused);
            }

            throw;
        }
    }

    /// <summary>The graph at this moment.</summary>
    /// <exception cref="BackupException">The hypervisor cannot be asked now.</exception>
    internal async Task<GraphSnapshot> ReadGraphAsync(CancellationToken cancellationToken)
    {
        while (Capabilities.DiesOverEndedBackups && ReadRunningJob() is not null)
        {
            Held ??= await LockAsync(Options, Folder, cancellationToken).ConfigureAwait(false);
            if (ReadRunningJob()?.Job is not { } job)
            {
                break;
            }

            if (job.Mode == BackupMode.Pull)
            {
                return await HypervisorReader.ReadGraphAsync(
                    Monitor, Capabilities, cancellationToken, job.Disks.Select(disk => disk.JobId))
                        .ConfigureAwait(false);
            }

            if (await JobHold.TakeAsync(this, job, cancellationToken).ConfigureAwait(false) is { } hold)
            {
                await using var _ = hold.ConfigureAwait(false);
                return await HypervisorReader.ReadGraphAsync(Monitor, Capabilities, cancellationToken)
                    .ConfigureAwait(false);
            }

            // It has ended meanwhile. That is finished first, as at the beginning of each command.
            await new JobSettler(this).SettleBackupAsync(cancellationToken).ConfigureAwait(false);
            if (ReadRunningJob() is not null)
            {
                throw new BackupException(
                    BackupErrorKind.Hypervisor,
                    "one of the backup's jobs has ended while others run, and this version of QEMU dies when it is "
                        + "asked for its nodes then. Wait for the backup's end (domjobinfo tells), or end it with "
                        + "domjobabort");
            }
        }

        return await HypervisorReader.ReadGraphAsync(Monitor, Capabilities, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>The disks in a graph; their names are kept if this command holds the lock.</summary>
    /// <exception cref="BackupException">One cannot be resolved.</exception>
    internal IReadOnlyList<AttachedDisk> FindDisks(GraphSnapshot graph)
    {
        if (_names is null && StrayRuns.Describe(Options, Folder, graph.Nodes.Select(node => node.Name)) is { } stray)
        {
            Options.Note(stray);
        }

        _names ??= DiskNames.Read(Folder);
        var temporary = TemporaryNames();
        var disks = AttachedDiskFinder.Find(
            graph,
            _names,
            name => RunNames.RunOfTemporary(name) is not null || temporary.Contains(name),
            out var problem);
        if (problem is not null)
        {
            throw new BackupException(BackupErrorKind.Hypervisor, problem);
        }

        if (Held is not null)
        {
            DiskNames.Keep(Folder, _names, disks);
        }

        return disks;
    }

    /// <summary>Keeps a disk's name for another active layer: where nothing uses a disk, its node is all that tells
    /// which disk it is, and in the machine's next process its file tells it best.</summary>
    internal void KeepName(string disk, string node, string file)
    {
        _names ??= DiskNames.Read(Folder);
        DiskNames.Keep(Folder, _names, disk, node, file);
    }

    /// <summary>The backup that runs; null when there is none.</summary>
    internal JournalRecord? ReadRunningJob() => ReadRunningJob(Folder);

    /// <summary>The backup that runs in a domain's folder; null when there is none.</summary>
    internal static JournalRecord? ReadRunningJob(DomainFolder folder) =>
        folder.Run.ReadJournal() is { Begun: not null, Job: not null, Ended: null } record ? record : null;

    /// <summary>How the last backup ended; null when none has.</summary>
    internal static DomainJobInfo? ReadCompleted(DomainFolder folder) =>
        DurableFile.Read(folder.CompletedPath) is { } bytes
            ? JobInfoFormat.Read(bytes, folder.CompletedPath)
            : null;

    /// <summary>Does work that ends with this command; see <see cref="JournaledWork"/>.</summary>
    internal Task WithJournalAsync(string runId, Func<StepExecutor, RunJournal, JobWatcher, Task> work) =>
        JournaledWork.RunAsync(this, runId, work);

    /// <summary>Gives the lock back before the session ends.</summary>
    internal void Unlock()
    {
        Held?.Dispose();
        Held = null;
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        Unlock();
        await Monitor.DisposeAsync().ConfigureAwait(false);
    }

    private static async Task<RunLock> LockAsync(
        DomainServiceOptions options, DomainFolder folder, CancellationToken cancellationToken)
    {
        var start = options.Time.GetTimestamp();
        while (true)
        {
            if (folder.Run.TryLock() is { } held)
            {
                return held;
            }

            if (options.Time.GetElapsedTime(start) > options.LockTimeout)
            {
                throw new BackupException(
                    BackupErrorKind.Busy,
                    $"another command has worked on this domain for {options.LockTimeout.TotalSeconds:0} seconds; wait "
                        + "for its end, or end it");
            }

            await Task.Delay(BackupLimits.LockPollInterval, options.Time, cancellationToken).ConfigureAwait(false);
        }
    }

    // Everything that the journal says a backup has made at the hypervisor.
    private HashSet<string> TemporaryNames()
    {
        HashSet<string> names = new(StringComparer.Ordinal);
        foreach (var action in Folder.Run.ReadJournal()?.Undo ?? [])
        {
            if (action is UndoAction.Node node)
            {
                names.Add(node.Name);
            }
            else if (action is UndoAction.Export export)
            {
                names.Add(export.Id);
            }
        }

        return names;
    }
}
