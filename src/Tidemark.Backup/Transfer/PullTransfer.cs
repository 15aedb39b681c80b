using Tidemark.Backup.Definitions;
using Tidemark.Backup.Planning;
using Tidemark.Backup.Running;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Backup.Transfer;

/// <summary>Pull: reads the frozen views one disk after the other, each with full parallelism.</summary>
/// <remarks>The frozen views live only as long as the jobs do. So the jobs are watched while bytes are read, and asked
/// for once more after the last byte: what was read while they lived is the disk at the instant of the
/// transaction.</remarks>
internal sealed class PullTransfer : ITransfer
{
    private readonly NbdEndPoint _endPoint;
    private readonly IReadOnlyList<DiskTransfer> _disks;
    private readonly TimeProvider _time;
    private NbdNode? _view;

    internal PullTransfer(NbdAddress address, IReadOnlyList<DiskTransfer> disks, TimeProvider time)
    {
        _endPoint = address.Path is { } path
            ? NbdEndPoint.ForUnix(path)
            : NbdEndPoint.ForTcp(address.Host!, address.Port);
        _disks = disks;
        _time = time;
    }

    /// <inheritdoc/>
    public Task ServeAsync(PlanStep.Serve step, CancellationToken cancellationToken) =>
        throw new InvalidOperationException("a pull serves nothing");

    /// <inheritdoc/>
    public async Task RunAsync(JobWatcher jobs, CancellationToken cancellationToken)
    {
        string[] jobIds = [.. _disks.Select(disk => disk.Plan.JobId)];
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var watching = jobs.FailWhenOneEndsAsync(jobIds, stop.Token);
        var reading = ReadDisksAsync(stop.Token);
        var first = await Task.WhenAny(watching, reading).ConfigureAwait(false);
        if (first == watching)
        {
            // Whatever the reader says afterwards follows from it.
            await stop.CancelAsync().ConfigureAwait(false);
            await Task.WhenAll(reading).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await watching.ConfigureAwait(false);
            return;
        }

        await stop.CancelAsync().ConfigureAwait(false);
        await Task.WhenAll(watching).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        try
        {
            await reading.ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is NbdException && !cancellationToken.IsCancellationRequested)
        {
            // If a job has ended, that is the cause, and says more than a broken connection.
            await jobs.CheckAllRunAsync(jobIds, cancellationToken).ConfigureAwait(false);
            throw;
        }

        await jobs.CheckAllRunAsync(jobIds, cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async Task LetGoAsync()
    {
        if (Interlocked.Exchange(ref _view, null) is { } view)
        {
            await view.DisposeAsync().ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync() => await LetGoAsync().ConfigureAwait(false);

    private async Task ReadDisksAsync(CancellationToken cancellationToken)
    {
        foreach (var disk in _disks)
        {
            var start = _time.GetTimestamp();
            var bitmap = disk.Plan.Temporary?.Name;
            _view = await NbdNode.ConnectAsync(
                disk.Plan.ExportName,
                _endPoint,
                new NbdNodeOptions
                {
                    ExportName = disk.Plan.ExportName,
                    MetaContexts = bitmap is null ? [] : [MetaContextNames.ForDirtyBitmap(bitmap)],
                    Connections = BackupLimits.PullConnections,
                    ReadOnly = true,
                },
                cancellationToken).ConfigureAwait(false);
            var reader = new PullReader(_view, disk.Writer, disk.Parent, bitmap, disk.Counters);
            disk.Escalation = await reader.ReadAsync(
                disk.DirtyBytes, disk.Plan.Parent?.Granularity ?? 0, cancellationToken).ConfigureAwait(false);
            await LetGoAsync().ConfigureAwait(false);
            disk.Elapsed = _time.GetElapsedTime(start);
        }
    }
}
