using Tidemark.Backup.Definitions;
using Tidemark.Backup.Planning;
using Tidemark.Repository;
using Tidemark.Repository.Disks;
using Tidemark.Repository.Snapshots;

namespace Tidemark.Backup.RestorePoints;

/// <summary>Finds the restore point of each disk of a virtual machine that the next one can build on.</summary>
/// <remarks>
/// That is the newest one whose bitmap can be trusted, or the newest of all where none can. The identity rule holds for
/// any restore point of the repository, not only for the newest: its bitmap names every write since. So a run that died
/// between its restore point and its checkpoint costs no whole read, and neither does a restore point whose description
/// cannot be read: it is passed over with a note.
/// </remarks>
internal static class ParentFinder
{
    /// <summary>Finds the parents.</summary>
    /// <param name="repository">The repository, its index loaded and its packs checked.</param>
    /// <param name="vmName">The virtual machine.</param>
    /// <param name="disks">The names of the disks.</param>
    /// <param name="isTrusted">Whether a disk has a bitmap that can be trusted, by the names of both.</param>
    /// <param name="note">Takes what was passed over.</param>
    /// <param name="cancellationToken">Cancels.</param>
    internal static async Task<Dictionary<string, ParentPoint>> FindAsync(
        Repository.Repository repository,
        string vmName,
        IEnumerable<string> disks,
        Func<string, string, bool> isTrusted,
        Action<string> note,
        CancellationToken cancellationToken)
    {
        var searches = disks.Distinct(StringComparer.Ordinal)
            .ToDictionary(disk => disk, _ => new Search(), StringComparer.Ordinal);
        var snapshots = await repository.ListSnapshotsAsync(cancellationToken).ConfigureAwait(false);
        foreach (var snapshot in snapshots.Reverse().Where(one => one.IsRestorePoint && one.VmName == vmName))
        {
            if (searches.Values.All(search => search.IsDone))
            {
                break;
            }

            var where = $"restore point {snapshot.Id.ToShortString()}";
            try
            {
                var json = await repository.ReadFileAsync(snapshot, SnapshotManifest.FileName, cancellationToken)
                    .ConfigureAwait(false);
                foreach (var disk in SnapshotManifest.Parse(json, where).Disks)
                {
                    if (searches.TryGetValue(disk.Name, out var search) && !search.IsDone)
                    {
                        await LookAtAsync(repository, snapshot, disk, search, isTrusted, cancellationToken)
                            .ConfigureAwait(false);
                    }
                }
            }
            catch (Exception exception) when (exception is BackupException or RepositoryException
            {
                Kind: RepositoryErrorKind.Damaged or RepositoryErrorKind.MissingBlob or RepositoryErrorKind.NotFound
                    or RepositoryErrorKind.NotSupported,
            })
            {
                note($"{where} is passed over: {exception.Message}");
            }
        }

        return searches.Where(pair => pair.Value.Point is not null).ToDictionary(
            pair => pair.Key,
            pair => pair.Value.Point! with
            {
                Facts = pair.Value.Point.Facts with { KnownBitmaps = pair.Value.Bitmaps },
            },
            StringComparer.Ordinal);
    }

    private static async Task LookAtAsync(
        Repository.Repository repository,
        Snapshot snapshot,
        ManifestDisk disk,
        Search search,
        Func<string, string, bool> isTrusted,
        CancellationToken cancellationToken)
    {
        search.Looked++;
        var trusted = false;
        if (disk.Bitmap is { } bitmap)
        {
            search.Bitmaps.Add(bitmap);
            trusted = isTrusted(disk.Name, bitmap);
        }

        if (trusted || search.Point is null)
        {
            var index = await repository.OpenDiskAsync(snapshot, disk.Name, cancellationToken).ConfigureAwait(false);
            search.Point = new ParentPoint(snapshot, index, Facts(repository, snapshot, disk, index));
        }

        search.IsDone = trusted || disk.Bitmap is null || search.Looked > BackupLimits.OlderParents;
    }

    private static ParentDisk Facts(
        Repository.Repository repository, Snapshot snapshot, ManifestDisk disk, DiskIndex index)
    {
        var lost = 0;
        for (var chunk = 0; chunk < index.Count; chunk++)
        {
            lost += repository.HasChunk(index, chunk) ? 0 : 1;
        }

        var unusable = lost > 0 ? $"the repository lost {lost} chunks of restore point {snapshot.Id.ToShortString()}"
            : index.Length != disk.Size || index.ChunkSize != disk.ChunkSize
                ? $"{SnapshotManifest.FileName} of restore point {snapshot.Id.ToShortString()} contradicts its list of "
                    + "chunks"
                : null;
        return new ParentDisk
        {
            SnapshotId = snapshot.Id.ToString(),
            Size = index.Length,
            ChunkSize = index.ChunkSize,
            BitmapName = disk.Bitmap,
            Granularity = disk.Granularity,
            Unusable = unusable,
        };
    }

    private sealed class Search
    {
        internal ParentPoint? Point { get; set; }

        internal List<string> Bitmaps { get; } = [];

        internal int Looked { get; set; }

        internal bool IsDone { get; set; }
    }
}
