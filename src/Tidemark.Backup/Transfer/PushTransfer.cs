using Tidemark.Backup.Definitions;
using Tidemark.Backup.Planning;
using Tidemark.Backup.Running;
using Tidemark.Blocks.Graph;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;

namespace Tidemark.Backup.Transfer;

/// <summary>Push: serves one target a disk over NBD, waits for the jobs, and decides the rest of the chunks.</summary>
internal sealed class PushTransfer : ITransfer
{
    private readonly IReadOnlyList<DiskTransfer> _disks;
    private readonly string _spillFolder;
    private readonly TimeProvider _time;
    private readonly BlockGraph _graph = new();
    private readonly List<RepositoryTargetNode> _targets = [];
    private readonly NbdServer _server = new();
    private bool _letGo;

    internal PushTransfer(IReadOnlyList<DiskTransfer> disks, string spillFolder, TimeProvider time)
    {
        _disks = disks;
        _spillFolder = spillFolder;
        _time = time;
    }

    /// <inheritdoc/>
    public async Task ServeAsync(PlanStep.Serve step, CancellationToken cancellationToken)
    {
        foreach (var (disk, export) in _disks.Zip(step.Exports))
        {
            var target = new RepositoryTargetNode(export, disk.Writer, disk.Parent, _spillFolder, disk.Counters);
            _graph.Add(target);
            _targets.Add(target);
            _server.AddExport(new NbdExport(
                export,
                _graph.CreateBackend(target, $"export '{export}'"),
                new NbdExportOptions { Writable = true }));
        }

        var address = step.Address;
        await _server.ListenAsync(
            address.Path is { } path ? NbdEndPoint.ForUnix(path) : NbdEndPoint.ForTcp(address.Host!, address.Port),
            cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async Task RunAsync(JobWatcher jobs, CancellationToken cancellationToken)
    {
        var start = _time.GetTimestamp();
        foreach (var disk in _disks)
        {
            disk.Counters.BytesTotal = disk.Parent is null
                ? disk.Plan.Size
                : Math.Min(disk.DirtyBytes, disk.Plan.Size);
        }

        try
        {
            await jobs.WaitForSuccessAsync([.. _disks.Select(disk => disk.Plan.JobId)], cancellationToken)
                .ConfigureAwait(false);
        }
        catch (BackupException exception) when (_targets.Find(target =>
            target.FirstError is not null)?.FirstError is { } cause)
        {
            throw new BackupException(exception.Kind, $"{cause.Message} ({exception.Message})", cause);
        }

        foreach (var (disk, target) in _disks.Zip(_targets))
        {
            await target.CompleteAsync(disk.DirtyBytes, disk.Plan.Parent?.Granularity ?? 0, cancellationToken)
                .ConfigureAwait(false);
            disk.Elapsed = _time.GetElapsedTime(start);
        }
    }

    /// <inheritdoc/>
    public Task LetGoAsync() => Task.CompletedTask;

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (!_letGo)
        {
            _letGo = true;
            await _server.DisposeAsync().ConfigureAwait(false);
            await _graph.DisposeAsync().ConfigureAwait(false);
        }
    }
}
