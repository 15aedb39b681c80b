using System.Text;
using Tidemark.Repository.Backends;
using Tidemark.Repository.Blobs;
using Tidemark.Repository.Disks;
using Tidemark.Repository.Locks;
using Tidemark.Repository.Packs;

namespace Tidemark.Repository.Snapshots;

// A restore point becomes visible in one step, the last:
//
//   1. every disk is complete: no chunk undecided
//   2. the chunks of the small files, then the directories, go the way of all blobs
//   3. packs are durable
//   4. the index files that name them are durable
//   5. our lock is still held, so that nobody pruned what we rely on
//   6. the snapshot file: durable, and the restore point exists
//
// Whatever fails before 6 leaves the repository as it was, but for packs (and index files) that the next run uses.

/// <summary>One run that makes one restore point. Dispose it in any case: that gives the lock back.</summary>
public sealed class SnapshotWriter : IAsyncDisposable
{
    private const int SmallFilePart = 1 << 20;

    private readonly Repository _repository;
    private readonly RepositoryLock _lock;
    private readonly BlobWriter _blobs;
    private readonly List<DiskWriter> _disks = [];
    private bool _committed;
    private bool _disposed;

    internal SnapshotWriter(
        Repository repository, RepositoryLock held, BlobWriter blobs, IReadOnlyList<string> warnings)
    {
        _repository = repository;
        _lock = held;
        _blobs = blobs;
        Warnings = warnings;
    }

    /// <summary>What was found wrong with the repository at the beginning and does not hinder this run.</summary>
    public IReadOnlyList<string> Warnings { get; }

    /// <summary>Adds a disk. Not thread-safe, unlike the disk itself.</summary>
    /// <param name="name">Its name, a plain file name, unique in the restore point.</param>
    /// <param name="length">Its length in bytes.</param>
    /// <param name="chunkSize">A power of two from 64 KiB to 8 MiB.</param>
    /// <param name="parent">The disk of an older restore point that chunks may be inherited from, or null.</param>
    /// <exception cref="RepositoryException">The name or the geometry is refused.</exception>
    public DiskWriter AddDisk(
        string name, long length, int chunkSize = RepositoryLimits.DefaultChunkSize, DiskIndex? parent = null)
    {
        EntryName.Check(name, "disk");
        if (_disks.Count == RepositoryLimits.MaximumDisks)
        {
            throw new RepositoryException(
                RepositoryErrorKind.NotSupported, $"a restore point has at most {RepositoryLimits.MaximumDisks} disks");
        }

        if (_disks.Exists(disk => disk.Name == name))
        {
            throw new RepositoryException(RepositoryErrorKind.Invalid, $"there are two disks of the name '{name}'");
        }

        var disk = new DiskWriter(_repository, _blobs, name, length, chunkSize, parent);
        _disks.Add(disk);
        return disk;
    }

    /// <summary>Makes the restore point: when the task completes, it is durable and visible. Once.</summary>
    /// <exception cref="RepositoryException">
    /// A disk is not complete, a name is refused, something could not be stored, or our lock was lost. Then there is no
    /// restore point.
    /// </exception>
    public async Task<Snapshot> CommitAsync(SnapshotDescription description,
        CancellationToken cancellationToken = default)
    {
        if (_committed)
        {
            throw new InvalidOperationException("this restore point is committed already");
        }

        EntryName.Check(description.VmName, "VM");
        var disks = new List<DiskIndex>();
        foreach (var disk in _disks)
        {
            disks.Add(await disk.CompleteAsync(cancellationToken).ConfigureAwait(false));
        }

        var owner = new TreeOwner(description.Time, OwnerName(), LinuxProcess.UserId, LinuxProcess.GroupId);
        var nodes = disks.Select(static disk => new TreeNode
        {
            Name = disk.Name + DiskList.FileSuffix,
            Type = "file",
            Size = disk.Length,
            Content = disk.Chunks.ToArray(),
        }).ToList();
        foreach (var (name, content) in SmallFiles(description, disks))
        {
            nodes.Add(await StoreFileAsync(name, content, cancellationToken).ConfigureAwait(false));
        }

        nodes.Sort(static (left, right) =>
            Encoding.UTF8.GetBytes(left.Name).AsSpan().SequenceCompareTo(Encoding.UTF8.GetBytes(right.Name)));
        var directory = await StoreAsync(BlobType.Tree, TreeJson.Encode(nodes, owner), cancellationToken)
            .ConfigureAwait(false);
        var entry = new TreeNode { Name = description.VmName, Type = "dir", Subtree = directory };
        var root = await StoreAsync(BlobType.Tree, TreeJson.Encode([entry], owner), cancellationToken)
            .ConfigureAwait(false);

        await _blobs.FlushAsync(cancellationToken).ConfigureAwait(false);
        await _lock.EnsureHeldAsync(cancellationToken).ConfigureAwait(false);
        var snapshot = new Snapshot
        {
            Id = default,
            Time = description.Time,
            Parent = description.Parent,
            Tree = root,
            Paths = ["/" + description.VmName],
            HostName = description.HostName,
            UserName = owner.User,
            Tags = [Snapshot.Tag, Snapshot.VmTagPrefix + description.VmName, .. description.Tags],
        };
        var id = await _repository.Files.PutJsonAsync(
            BackendFileKind.Snapshot, SnapshotJson.Encode(snapshot, owner), cancellationToken).ConfigureAwait(false);
        _committed = true;
        return snapshot with { Id = id };
    }

    /// <summary>Stops what is under way and gives the lock back. Without a commit, there is no restore point.</summary>
    public async ValueTask DisposeAsync()
    {
        if (!_disposed)
        {
            _disposed = true;
            await _blobs.DisposeAsync().ConfigureAwait(false);
            await _lock.DisposeAsync().ConfigureAwait(false);
        }
    }

    private static IEnumerable<(string Name, ReadOnlyMemory<byte> Content)> SmallFiles(
        SnapshotDescription description, List<DiskIndex> disks)
    {
        yield return (DiskList.FileName, DiskList.Encode(disks));
        foreach (var (name, content) in description.Files)
        {
            EntryName.Check(name, "file");
            if (name == DiskList.FileName || disks.Exists(disk => disk.Name + DiskList.FileSuffix == name))
            {
                throw new RepositoryException(
                    RepositoryErrorKind.Invalid,
                    $"'{name}' cannot be the name of a file: the restore point has its own");
            }

            if (content.Length > RepositoryLimits.MaximumSmallFile)
            {
                throw new RepositoryException(
                    RepositoryErrorKind.NotSupported,
                    $"the file '{name}' has {content.Length} bytes, more than {RepositoryLimits.MaximumSmallFile}");
            }

            yield return (name, content);
        }
    }

    private static string OwnerName() =>
        Environment.UserName.All(static character => char.IsAsciiLetterOrDigit(character)
            || character is '-' or '_' or '.')
            ? Environment.UserName
            : "";

    private async Task<TreeNode> StoreFileAsync(
        string name, ReadOnlyMemory<byte> content, CancellationToken cancellationToken)
    {
        var parts = new List<BlobId>();
        for (var offset = 0; offset < content.Length; offset += SmallFilePart)
        {
            var part = content.Slice(offset, Math.Min(SmallFilePart, content.Length - offset));
            parts.Add(await StoreAsync(BlobType.Data, part, cancellationToken).ConfigureAwait(false));
        }

        return new TreeNode { Name = name, Type = "file", Size = content.Length, Content = parts.ToArray() };
    }

    private async Task<BlobId> StoreAsync(
        BlobType type, ReadOnlyMemory<byte> content, CancellationToken cancellationToken)
    {
        var job = new AwaitedBlobJob(type, content);
        await _blobs.EnqueueAsync(job, cancellationToken).ConfigureAwait(false);
        return await job.Id.ConfigureAwait(false);
    }
}
