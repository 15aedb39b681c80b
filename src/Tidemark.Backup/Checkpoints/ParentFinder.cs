using Tidemark.Backup.Definitions;
using Tidemark.Backup.Planning;
using Tidemark.Repository;
using Tidemark.Repository.Disks;
using Tidemark.Repository.Snapshots;

namespace Tidemark.Backup.Checkpoints;

/// <summary>Finds the newest restore point of each disk of a virtual machine in a repository.</summary>
/// <remarks>A restore point whose description cannot be read is passed over with a note: an older one is as good a
/// parent if its own bitmap is still on the disk, and if not, the disk is read whole.</remarks>
internal static class ParentFinder
{
    /// <summary>Finds the parents.</summary>
    /// <param name="repository">The repository, its index loaded and its packs checked.</param>
    /// <param name="vmName">The virtual machine.</param>
    /// <param name="disks">The names of the disks.</param>
    /// <param name="note">Takes what was passed over.</param>
    /// <param name="cancellationToken">Cancels.</param>
    internal static async Task<Dictionary<string, ParentPoint>> FindAsync(
        Repository.Repository repository,
        string vmName,
        IEnumerable<string> disks,
        Action<string> note,
        CancellationToken cancellationToken)
    {
        Dictionary<string, ParentPoint> found = new(StringComparer.Ordinal);
        HashSet<string> wanted = new(disks, StringComparer.Ordinal);
        var snapshots = await repository.ListSnapshotsAsync(cancellationToken).ConfigureAwait(false);
        foreach (var snapshot in snapshots.Reverse().Where(one => one.IsRestorePoint && one.VmName == vmName))
        {
            if (wanted.Count == 0)
            {
                break;
            }

            var where = $"restore point {snapshot.Id.ToShortString()}";
            try
            {
                var json = await repository.ReadFileAsync(snapshot, SnapshotManifest.FileName, cancellationToken)
                    .ConfigureAwait(false);
                var manifest = SnapshotManifest.Parse(json, where);
                foreach (var disk in manifest.Disks.Where(disk => wanted.Contains(disk.Name)))
                {
                    var index = await repository.OpenDiskAsync(snapshot, disk.Name, cancellationToken)
                        .ConfigureAwait(false);
                    found.Add(disk.Name, new ParentPoint(snapshot, index, Facts(repository, snapshot, disk, index)));
                    wanted.Remove(disk.Name);
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

        return found;
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
                    + $"chunks"
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
}
