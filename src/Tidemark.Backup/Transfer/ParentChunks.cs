using Tidemark.Repository.Disks;

namespace Tidemark.Backup.Transfer;

/// <summary>The chunks of the parent restore point's disk.</summary>
internal sealed class ParentChunks
{
    private readonly Repository.Repository _repository;
    private readonly DiskIndex _disk;

    internal ParentChunks(Repository.Repository repository, DiskIndex disk)
    {
        _repository = repository;
        _disk = disk;
    }

    /// <summary>Whether a chunk of the parent is all zero.</summary>
    internal bool IsZero(int index) => _disk.IsZero(index);

    /// <summary>Reads a chunk of the parent; its digest is checked.</summary>
    internal ValueTask ReadAsync(int index, Memory<byte> target, CancellationToken cancellationToken)
    {
        if (_disk.IsZero(index))
        {
            target.Span.Clear();
            return default;
        }

        return _repository.ReadChunkAsync(_disk[index], target, cancellationToken);
    }
}
