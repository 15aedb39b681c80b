using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Repository.Disks;

/// <summary>
/// A disk of a restore point as a read-only node. Every chunk's digest is checked whenever it is read from the
/// repository. Chunks of zeroes are holes.
/// </summary>
/// <remarks>
/// A read of a whole chunk is decoded straight into the caller's memory. Smaller reads go through a cache of decoded
/// chunks of at most <see cref="RepositoryLimits.SnapshotNodeCacheBytes"/>; readers that want the same chunk at once
/// wait for one decoding. The repository is not disposed of with the node.
/// </remarks>
public sealed class SnapshotNode : BlockNode
{
    private readonly Repository _repository;
    private readonly DiskIndex _disk;
    private readonly int _maximumCached;
    private readonly Lock _gate = new();

    // Guarded by _gate; the list is in the order of use, the last used one at its end.
    private readonly Dictionary<int, LinkedListNode<CachedChunk>> _cached = [];
    private readonly LinkedList<CachedChunk> _byUse = new();

    /// <summary>Makes a node of a disk.</summary>
    /// <param name="name">The node's name.</param>
    /// <param name="repository">Where the chunks are; must stay open.</param>
    /// <param name="disk">The list of chunks.</param>
    public SnapshotNode(string name, Repository repository, DiskIndex disk)
        : base(name)
    {
        _repository = repository;
        _disk = disk;
        _maximumCached = Math.Max(2, RepositoryLimits.SnapshotNodeCacheBytes / disk.ChunkSize);
    }

    /// <inheritdoc/>
    public override string Driver => "tidemark-snapshot";

    /// <inheritdoc/>
    public override long Length => _disk.Length;

    /// <inheritdoc/>
    public override bool IsReadOnly => true;

    /// <inheritdoc/>
    public override BlockLimits Limits => BlockLimits.Default with { PreferredSize = _disk.ChunkSize };

    /// <inheritdoc/>
    public override ValueTask DisposeAsync()
    {
        lock (_gate)
        {
            _cached.Clear();
            _byUse.Clear();
        }

        return default;
    }

    /// <inheritdoc/>
    protected override async ValueTask ReadCoreAsync(
        long offset, Memory<byte> target, CancellationToken cancellationToken)
    {
        try
        {
            while (!target.IsEmpty)
            {
                var index = (int)(offset / _disk.ChunkSize);
                var within = (int)(offset % _disk.ChunkSize);
                var length = _disk.LengthOf(index);
                var count = Math.Min(length - within, target.Length);
                var part = target[..count];
                if (_disk.IsZero(index))
                {
                    part.Span.Clear();
                }
                else if (count == length)
                {
                    await _repository.ReadChunkAsync(_disk[index], part, cancellationToken).ConfigureAwait(false);
                }
                else
                {
                    var chunk = await GetCachedAsync(index, cancellationToken).ConfigureAwait(false);
                    chunk.AsSpan(within, count).CopyTo(part.Span);
                }

                offset += count;
                target = target[count..];
            }
        }
        catch (RepositoryException exception)
        {
            throw new BlockException(
                exception.Kind is RepositoryErrorKind.Damaged or RepositoryErrorKind.MissingBlob
                    ? BlockErrorKind.Corrupt
                    : BlockErrorKind.Io,
                $"could not read the bytes at {offset} of disk '{_disk.Name}': {exception.Message}",
                exception);
        }
    }

    /// <inheritdoc/>
    protected override ValueTask GetBlockStatusCoreAsync(
        long offset, long length, ExtentList extents, CancellationToken cancellationToken)
    {
        var end = offset + length;
        while (offset < end)
        {
            var index = (int)(offset / _disk.ChunkSize);
            var next = Math.Min(end, ((long)index + 1) * _disk.ChunkSize);
            var flags = _disk.IsZero(index) ? ExtentFlags.Hole | ExtentFlags.Zero : ExtentFlags.None;
            extents.Append(offset, next - offset, flags);
            offset = next;
        }

        return default;
    }

    private Task<byte[]> GetCachedAsync(int index, CancellationToken cancellationToken)
    {
        Task<byte[]> content;
        lock (_gate)
        {
            if (_cached.TryGetValue(index, out var found))
            {
                _byUse.Remove(found);
                _byUse.AddLast(found);
                content = found.Value.Content;
            }
            else
            {
                // Decoded for all who wait for it, so one reader's cancellation must not stop it.
                content = Task.Run(() => DecodeAsync(index), CancellationToken.None);
                _cached.Add(index, _byUse.AddLast(new CachedChunk(index, content)));
                if (_cached.Count > _maximumCached)
                {
                    _cached.Remove(_byUse.First!.Value.Index);
                    _byUse.RemoveFirst();
                }
            }
        }

        return content.WaitAsync(cancellationToken);
    }

    private async Task<byte[]> DecodeAsync(int index)
    {
        try
        {
            var content = GC.AllocateUninitializedArray<byte>(_disk.LengthOf(index));
            await _repository.ReadChunkAsync(_disk[index], content, CancellationToken.None).ConfigureAwait(false);
            return content;
        }
        catch
        {
            // A failure is not kept: the next reader tries again.
            lock (_gate)
            {
                if (_cached.Remove(index, out var node))
                {
                    _byUse.Remove(node);
                }
            }

            throw;
        }
    }

    private sealed record CachedChunk(int Index, Task<byte[]> Content);
}
