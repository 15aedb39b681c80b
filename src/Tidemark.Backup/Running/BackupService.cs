// One backup, from the request to the report:
//
//   1 lock            one run at a time for each virtual machine and source
//   2 connect         the monitor; what it can
//   3 recover         what dead runs left at this source
//   4 repository      a lock there, the index, its packs checked
//   5 plan            graph, parents: a plan or a conflict. Nothing was touched so far
//   6 run             the steps; every chunk decided; the frozen views held
//   7 release         everything temporary is gone from the hypervisor
//   8 commit          the restore point is durable
//   9 retire          the superseded checkpoint's bitmaps are removed
//
// Before 8 a failure takes everything back, the new checkpoint included; the older bitmap never stopped recording, so
// the next backup is still an increment. After 8 the restore point stands, whatever happens.

using Tidemark.Backup.Definitions;
using Tidemark.Qmp;

namespace Tidemark.Backup.Running;

/// <summary>Makes restore points.</summary>
public sealed class BackupService
{
    private readonly BackupServiceOptions _options;

    /// <summary>Creates a service.</summary>
    public BackupService(BackupServiceOptions? options = null) => _options = options ?? new BackupServiceOptions();

    /// <summary>Makes one restore point. When the task completes, it is durable.</summary>
    /// <param name="request">What is asked for.</param>
    /// <param name="source">The hypervisor.</param>
    /// <param name="repository">Where the restore point goes; it stays the caller's.</param>
    /// <param name="progress">Who is told how it goes; null for nobody.</param>
    /// <param name="cancellationToken">Gives up: everything is taken back before the task ends.</param>
    /// <exception cref="BackupException">It failed; nothing of it is left, or <see cref="BackupException.UndoErrors"/>
    /// says what is, and the next run removes it.</exception>
    /// <exception cref="Repository.RepositoryException">The repository failed; everything was taken back.</exception>
    public async Task<BackupReport> RunAsync(
        BackupRequest request,
        HypervisorSource source,
        Repository.Repository repository,
        IBackupProgress? progress = null,
        CancellationToken cancellationToken = default)
    {
        progress = new SerializedProgress(progress ?? NoProgress.Instance);
        var folder = _options.State.FolderOf(source.Name, request.VmName);
        using var held = folder.TryLock() ?? throw new BackupException(
            BackupErrorKind.Busy,
            $"another backup of '{request.VmName}' at {source.Name} is under way; wait for its end, or end it");

        progress.Phase("connecting to the hypervisor");
        var monitor = await ConnectAsync(source, cancellationToken).ConfigureAwait(false);
        await using var _ = monitor.ConfigureAwait(false);
        try
        {
            var capabilities = await HypervisorReader.ReadCapabilitiesAsync(monitor, cancellationToken)
                .ConfigureAwait(false);
            await new RunRecovery(_options.State, _options.Time)
                .RecoverAsync(folder, source.Name, monitor, capabilities, progress.Note, cancellationToken)
                    .ConfigureAwait(false);

            progress.Phase("opening the repository");
            var writer = await repository.BeginSnapshotAsync(cancellationToken).ConfigureAwait(false);
            await using var __ = writer.ConfigureAwait(false);
            foreach (var warning in writer.Warnings)
            {
                progress.Note(warning);
            }

            var session = new BackupSession(_options, request, source, repository, writer, folder, progress);
            return await session.RunAsync(monitor, capabilities, cancellationToken).ConfigureAwait(false);
        }
        catch (QmpException exception)
        {
            throw new BackupException(BackupErrorKind.Hypervisor, $"{source.Name}: {exception.Message}", exception);
        }
    }

    private static async Task<IMonitor> ConnectAsync(HypervisorSource source, CancellationToken cancellationToken)
    {
        try
        {
            return await source.ConnectAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (QmpException exception)
        {
            throw new BackupException(BackupErrorKind.Hypervisor, exception.Message, exception);
        }
    }
}
