using Tidemark.Qcow2.Metadata;

namespace Tidemark.Qcow2.Bitmaps;

/// <summary>Clusters taken for a store that is not finished: given back together when it fails.</summary>
internal sealed class AllocationList(Qcow2Metadata metadata)
{
    private readonly List<(long Offset, int Count)> _taken = [];

    internal async ValueTask<long> AllocateAsync(long length, CancellationToken cancellationToken)
    {
        var offset = await metadata.AllocateTableAsync(length, cancellationToken).ConfigureAwait(false);
        _taken.Add((offset, (int)((length + metadata.ClusterSize - 1) / metadata.ClusterSize)));
        return offset;
    }

    /// <summary>Nothing is given back any more.</summary>
    internal void Keep() => _taken.Clear();

    internal async ValueTask GiveBackAsync()
    {
        foreach (var (offset, count) in _taken)
        {
            await metadata.FreeUnlinkedAsync(offset, count).ConfigureAwait(false);
        }

        _taken.Clear();
    }
}
