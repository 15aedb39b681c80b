// A restore is a copy of the chunks that are not zero, in parallel: reading a chunk means decrypting, decompressing and
// checking its digest, which keeps all cores busy, while writing is one system call. Zero chunks stay holes. A file
// gets its name only when it is whole and durable.

using System.Buffers;
using System.Security.Cryptography;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Running;
using Tidemark.Backup.Transfer;
using Tidemark.Blocks.Nodes;
using Tidemark.Repository.Disks;
using Tidemark.Repository.Snapshots;

namespace Tidemark.Backup.Restore;

/// <summary>Restores disks from restore points to files.</summary>
public sealed class RestoreService
{
    // Reading waits for storage and then for a core: two chunks a core keep both busy.
    private const int ChunksInFlightPerCore = 2;

    private readonly TimeProvider _time;

    /// <summary>Creates a service.</summary>
    /// <param name="time">The clock; null for the system's.</param>
    public RestoreService(TimeProvider? time = null) => _time = time ?? TimeProvider.System;

    /// <summary>Restores one disk to a file, or several into a directory. When the task completes, they are
    /// durable.</summary>
    /// <param name="request">What is asked for.</param>
    /// <param name="repository">The repository; it stays the caller's.</param>
    /// <param name="progress">Who is told how it goes; null for nobody.</param>
    /// <param name="cancellationToken">Gives up; the file that is not whole is deleted.</param>
    /// <exception cref="BackupException">A file exists, or cannot be written.</exception>
    /// <exception cref="Repository.RepositoryException">There is no such restore point or disk, or it is
    /// damaged.</exception>
    public async Task<RestoreReport> RunAsync(
        RestoreRequest request,
        Repository.Repository repository,
        IBackupProgress? progress = null,
        CancellationToken cancellationToken = default)
    {
        progress ??= NoProgress.Instance;
        progress.Phase("finding the restore point");
        var snapshot = await repository.FindSnapshotAsync(request.Snapshot, request.VmName, cancellationToken)
            .ConfigureAwait(false);
        var disks = await OpenDisksAsync(request, repository, snapshot, cancellationToken).ConfigureAwait(false);
        var paths = PathsOf(request, disks);
        progress.Phase("restoring");
        var counters = disks.ConvertAll(disk => new TransferCounters { BytesTotal = disk.Length });
        List<RestoredDisk> restored = [];
        try
        {
            for (var index = 0; index < disks.Count; index++)
            {
                var start = _time.GetTimestamp();
                var work = RestoreAsync(request, repository, disks[index], paths[index], counters[index],
                    cancellationToken);
                await ReportWhileAsync(progress, disks, counters, work).ConfigureAwait(false);
                restored.Add(new RestoredDisk(
                    disks[index].Name,
                    paths[index],
                    disks[index].Length,
                    counters[index].BytesRead,
                    _time.GetElapsedTime(start).TotalSeconds));
            }
        }
        catch (BlockException exception)
        {
            throw new BackupException(BackupErrorKind.Target, exception.Message, exception);
        }

        return new RestoreReport(snapshot.Id.ToString(), restored);
    }

    private static async Task<List<DiskIndex>> OpenDisksAsync(
        RestoreRequest request, Repository.Repository repository, Snapshot snapshot,
            CancellationToken cancellationToken)
    {
        List<DiskIndex> disks = [];
        var stored = await repository.ListDisksAsync(snapshot, cancellationToken).ConfigureAwait(false);
        var names = request.Disk is { } one ? [one] : stored.Select(disk => disk.Name);
        foreach (var name in names)
        {
            // The names come from the repository and become paths here.
            if (DiskName.Refuse(name) is { } refusal)
            {
                throw new BackupException(BackupErrorKind.Manifest,
                    $"snapshot {snapshot.Id.ToShortString()}: {refusal}");
            }

            disks.Add(await repository.OpenDiskAsync(snapshot, name, cancellationToken).ConfigureAwait(false));
        }

        return disks;
    }

    private static List<string> PathsOf(RestoreRequest request, List<DiskIndex> disks)
    {
        var suffix = request.Format == RestoreFormat.Raw ? ".raw" : ".qcow2";
        if (disks.Count == 1 && !Directory.Exists(request.To) && !request.To.EndsWith('/'))
        {
            return [request.To];
        }

        try
        {
            Directory.CreateDirectory(request.To);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new BackupException(
                BackupErrorKind.Target, $"could not make the directory '{request.To}': {exception.Message}", exception);
        }

        var paths = disks.ConvertAll(disk => Path.Combine(request.To, disk.Name + suffix));

        // All are looked at before the first is written: a restore that is refused has written nothing.
        if (!request.Force && paths.Find(File.Exists) is { } existing)
        {
            throw new BackupException(
                BackupErrorKind.Target, $"'{existing}' exists and is not overwritten; choose another place, or say "
                    + "--force");
        }

        return paths;
    }

    private static async Task RestoreAsync(
        RestoreRequest request,
        Repository.Repository repository,
        DiskIndex disk,
        string path,
        TransferCounters counters,
        CancellationToken cancellationToken)
    {
        var suffix = $"tidemark-{Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(4))}";
        var target = await TargetFile.CreateAsync(
            path, disk.Length, request.Format, request.Force, suffix, cancellationToken).ConfigureAwait(false);
        await using var disposing = target.ConfigureAwait(false);
        await Parallel.ForEachAsync(
            DataChunks(disk, counters),
            new ParallelOptions
            {
                MaxDegreeOfParallelism = Environment.ProcessorCount * ChunksInFlightPerCore,
                CancellationToken = cancellationToken,
            },
            async (index, token) =>
            {
                var length = disk.LengthOf(index);
                var buffer = ArrayPool<byte>.Shared.Rent(length);
                try
                {
                    var chunk = buffer.AsMemory(0, length);
                    await repository.ReadChunkAsync(disk[index], chunk, token).ConfigureAwait(false);
                    await target.Node.WriteAsync((long)index * disk.ChunkSize, chunk, WriteFlags.None, token)
                        .ConfigureAwait(false);
                }
                finally
                {
                    ArrayPool<byte>.Shared.Return(buffer);
                }

                counters.AddRead(length);
                counters.AddDone(length);
            }).ConfigureAwait(false);
        await target.FinishAsync(cancellationToken).ConfigureAwait(false);
    }

    private static IEnumerable<int> DataChunks(DiskIndex disk, TransferCounters counters)
    {
        for (var index = 0; index < disk.Count; index++)
        {
            if (disk.IsZero(index))
            {
                counters.AddDone(disk.LengthOf(index));
            }
            else
            {
                yield return index;
            }
        }
    }

    private async Task ReportWhileAsync(
        IBackupProgress progress, List<DiskIndex> disks, List<TransferCounters> counters, Task work)
    {
        var interval = new BackupServiceOptions().ProgressInterval;
        while (!work.IsCompleted)
        {
            using var stop = new CancellationTokenSource();
            await Task.WhenAny(work, Task.Delay(interval, _time, stop.Token)).ConfigureAwait(false);
            await stop.CancelAsync().ConfigureAwait(false);
            progress.Report([.. disks.Zip(counters, (disk, counter) =>
                new DiskProgress(disk.Name, counter.BytesDone, counter.BytesTotal, counter.BytesRead))]);
        }

        await work.ConfigureAwait(false);
    }
}
