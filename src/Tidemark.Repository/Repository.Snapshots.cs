using Tidemark.Repository.Backends;
using Tidemark.Repository.Blobs;
using Tidemark.Repository.Disks;
using Tidemark.Repository.Snapshots;

namespace Tidemark.Repository;

// Restore points: listing, finding, opening.
public sealed partial class Repository
{
    /// <summary>All snapshots, the oldest first; restic's too. <see cref="Snapshot.IsRestorePoint"/> tells
    /// ours.</summary>
    /// <exception cref="RepositoryException">One of them is damaged; the message names it.</exception>
    public async Task<IReadOnlyList<Snapshot>> ListSnapshotsAsync(CancellationToken cancellationToken = default)
    {
        var snapshots = new List<Snapshot>();
        foreach (var file in await Backend.ListAsync(BackendFileKind.Snapshot, cancellationToken).ConfigureAwait(false))
        {
            try
            {
                snapshots.Add(await LoadSnapshotAsync(file.Name, cancellationToken).ConfigureAwait(false));
            }
            catch (RepositoryException exception) when (exception.Kind == RepositoryErrorKind.NotFound)
            {
                // Forgotten between the listing and the reading.
            }
        }

        snapshots.Sort(static (left, right) =>
            left.Time != right.Time ? left.Time.CompareTo(right.Time) : left.Id.CompareTo(right.Id));
        return snapshots;
    }

    /// <summary>Finds one snapshot.</summary>
    /// <param name="reference"><c>latest</c>, an id, or a prefix of at least four digits that only one has.</param>
    /// <param name="vmName">Only restore points of this VM count; null: all.</param>
    /// <param name="cancellationToken">Cancels.</param>
    /// <exception cref="RepositoryException">None fits, or more than one does.</exception>
    public async Task<Snapshot> FindSnapshotAsync(
        string reference, string? vmName = null, CancellationToken cancellationToken = default)
    {
        var ofVm = vmName is null ? "" : $" of '{vmName}'";
        if (reference == "latest")
        {
            var all = await ListSnapshotsAsync(cancellationToken).ConfigureAwait(false);
            return all.LastOrDefault(Fits) ?? throw new RepositoryException(
                RepositoryErrorKind.NotFound, $"the repository at '{Location}' has no snapshot{ofVm} yet");
        }

        var digits = reference.ToLowerInvariant();
        if (digits.Length is < RepositoryLimits.MinimumPrefixLength or > BlobId.TextLength
            || !BlobId.HasOnlyDigits(digits))
        {
            throw new RepositoryException(
                RepositoryErrorKind.Invalid,
                $"'{reference}' names no snapshot: give 'latest', an id, or at least "
                + $"{RepositoryLimits.MinimumPrefixLength} of its first digits");
        }

        var found = new List<Snapshot>();
        foreach (var file in await Backend.ListAsync(BackendFileKind.Snapshot, cancellationToken).ConfigureAwait(false))
        {
            if (file.Name.StartsWith(digits, StringComparison.Ordinal))
            {
                found.Add(await LoadSnapshotAsync(file.Name, cancellationToken).ConfigureAwait(false));
            }
        }

        found.RemoveAll(snapshot => !Fits(snapshot));
        return found.Count switch
        {
            1 => found[0],
            0 => throw new RepositoryException(
                RepositoryErrorKind.NotFound, $"the repository at '{Location}' has no snapshot '{reference}'{ofVm}"),
            _ => throw new RepositoryException(
                RepositoryErrorKind.Ambiguous,
                $"'{reference}' fits {found.Count} snapshots: {string.Join(", ", found.Select(static one => one.Id))}"),
        };

        bool Fits(Snapshot snapshot) => vmName is null || (snapshot.IsRestorePoint && snapshot.VmName == vmName);
    }

    /// <summary>The disks of a restore point.</summary>
    /// <exception cref="RepositoryException">The snapshot is none of Tidemark's, or damaged.</exception>
    public async Task<IReadOnlyList<StoredDisk>> ListDisksAsync(
        Snapshot snapshot, CancellationToken cancellationToken = default)
    {
        if (!snapshot.IsRestorePoint)
        {
            throw new RepositoryException(
                RepositoryErrorKind.NotSupported,
                $"snapshot {snapshot.Id.ToShortString()} was not made by Tidemark; restic restores it");
        }

        var json = await ReadFileAsync(snapshot, DiskList.FileName, cancellationToken).ConfigureAwait(false);
        return DiskList.Decode(json, $"snapshot {snapshot.Id.ToShortString()}");
    }

    /// <summary>Opens a disk of a restore point: the list of its chunks. The chunks themselves are not looked
    /// at.</summary>
    /// <exception cref="RepositoryException">There is no such disk, or its list is damaged.</exception>
    public async Task<DiskIndex> OpenDiskAsync(
        Snapshot snapshot, string disk, CancellationToken cancellationToken = default)
    {
        var disks = await ListDisksAsync(snapshot, cancellationToken).ConfigureAwait(false);
        var stored = disks.FirstOrDefault(one => one.Name == disk) ?? throw new RepositoryException(
            RepositoryErrorKind.NotFound,
            $"snapshot {snapshot.Id.ToShortString()} has no disk '{disk}'; it has: "
            + string.Join(", ", disks.Select(static one => $"'{one.Name}'")));
        DiskIndex.CheckGeometry(stored.Name, stored.Length, stored.ChunkSize);
        var node = await ResolveAsync(snapshot, stored.FileName, cancellationToken).ConfigureAwait(false);
        var chunks = node.Content!.Value.ToArray();
        var count = DiskIndex.ChunkCountOf(stored.Length, stored.ChunkSize);
        return node.Size == stored.Length && chunks.Length == count
            ? new DiskIndex(stored.Name, stored.Length, stored.ChunkSize, chunks)
            : throw new RepositoryException(
                RepositoryErrorKind.Damaged,
                $"disk '{disk}' of snapshot {snapshot.Id.ToShortString()} has {chunks.Length} chunks and "
                + $"{node.Size} bytes, "
                + $"not {count} chunks and {stored.Length} bytes: another program changed the snapshot");
    }

    /// <summary>Reads a small file of a snapshot whole.</summary>
    /// <param name="snapshot">Any snapshot, restic's too.</param>
    /// <param name="path">
    /// A name in the VM's directory (<c>tidemark.json</c>), or a path from the snapshot's root that begins with a
    /// slash.
    /// </param>
    /// <param name="cancellationToken">Cancels.</param>
    /// <exception cref="RepositoryException">There is no such file, or it is longer than
    /// <see cref="RepositoryLimits.MaximumSmallFile"/>.</exception>
    public async Task<byte[]> ReadFileAsync(
        Snapshot snapshot, string path, CancellationToken cancellationToken = default)
    {
        var node = await ResolveAsync(snapshot, path, cancellationToken).ConfigureAwait(false);
        if (node.Size > RepositoryLimits.MaximumSmallFile)
        {
            throw new RepositoryException(
                RepositoryErrorKind.NotSupported,
                $"'{path}' of snapshot {snapshot.Id.ToShortString()} has {node.Size} bytes; at most "
                + $"{RepositoryLimits.MaximumSmallFile} are read whole");
        }

        using var content = new MemoryStream((int)node.Size);
        await CopyContentAsync(node, content, cancellationToken).ConfigureAwait(false);
        return content.ToArray();
    }

    /// <summary>Copies a file of a snapshot, of any length, to a stream.</summary>
    /// <param name="snapshot">Any snapshot, restic's too.</param>
    /// <param name="path">As for <see cref="ReadFileAsync"/>.</param>
    /// <param name="target">Where its bytes go.</param>
    /// <param name="cancellationToken">Cancels.</param>
    /// <exception cref="RepositoryException">There is no such file, or a part of it is damaged or missing.</exception>
    public async Task CopyFileAsync(
        Snapshot snapshot, string path, Stream target, CancellationToken cancellationToken = default)
    {
        var node = await ResolveAsync(snapshot, path, cancellationToken).ConfigureAwait(false);
        await CopyContentAsync(node, target, cancellationToken).ConfigureAwait(false);
    }

    private async Task CopyContentAsync(TreeNode node, Stream target, CancellationToken cancellationToken)
    {
        foreach (var id in node.Content!.Value.ToArray())
        {
            var part = await ReadWholeBlobAsync(
                BlobType.Data, id, RepositoryLimits.MaximumSmallFile, cancellationToken).ConfigureAwait(false);
            await target.WriteAsync(part, cancellationToken).ConfigureAwait(false);
        }
    }

    private async Task<Snapshot> LoadSnapshotAsync(string name, CancellationToken cancellationToken)
    {
        var json = await Files.GetJsonAsync(BackendFileKind.Snapshot, name, cancellationToken).ConfigureAwait(false);
        return SnapshotJson.Decode(BlobId.Parse(name), json, Files.Describe(BackendFileKind.Snapshot, name));
    }

    // Finds a file, from the root directory down.
    private async Task<TreeNode> ResolveAsync(Snapshot snapshot, string path, CancellationToken cancellationToken)
    {
        var where = $"snapshot {snapshot.Id.ToShortString()}";
        var full = path.StartsWith('/') ? path : $"/{snapshot.VmName}/{path}";
        var names = full.Split('/', StringSplitOptions.RemoveEmptyEntries);
        var tree = snapshot.Tree;
        for (var depth = 0; depth < names.Length; depth++)
        {
            var json =
                await ReadWholeBlobAsync(BlobType.Tree, tree, RepositoryLimits.MaximumTreeLength, cancellationToken)
                .ConfigureAwait(false);
            var wanted = names[depth];
            var isLast = depth == names.Length - 1;
            var node = TreeJson.Decode(json, name => isLast && name == wanted, $"tree '{tree}' of {where}")
                .Find(node => node.Name == wanted);
            switch (node)
            {
                case { Type: "file", Content: not null } when isLast:
                    return node;
                case { Type: "dir", Subtree: { } subtree } when !isLast:
                    tree = subtree;
                    break;
                default:
                    throw new RepositoryException(RepositoryErrorKind.NotFound, $"{where} has no file '{full}'");
            }
        }

        throw new RepositoryException(RepositoryErrorKind.NotFound, $"{where} has no file '{full}'");
    }
}
