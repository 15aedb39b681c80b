using Tidemark.Qcow2.Format;

namespace Tidemark.Qcow2.Metadata;

// Places for compressed bytes, and the entries that name them. A place is counted before anything names it, once for
// each entry whose sectors touch the cluster; the bytes are written; then the entries are linked, in memory, as with
// plain clusters. Two places may share a sector: who writes one writes nothing of the other, and a disk that tears a
// write keeps either the old sector or the new one, in both of which the other's bytes are the same.
internal sealed partial class Qcow2Metadata
{
    /// <summary>Sets aside places for compressed clusters, one behind the other as far as possible.</summary>
    /// <param name="lengths">The bytes of each; zero for those that need none.</param>
    /// <param name="offsets">Takes where each lies.</param>
    /// <param name="cancellationToken">Stops it; what was set aside is given back.</param>
    internal async ValueTask PlaceCompressedAsync(
        ReadOnlyMemory<int> lengths, Memory<long> offsets, CancellationToken cancellationToken)
    {
        await _lock.WaitAsync(cancellationToken).ConfigureAwait(false);
        var done = 0;
        try
        {
            for (; done < lengths.Length; done++)
            {
                var length = lengths.Span[done];
                var place = length == 0 ? 0
                    : await _refcounts.AllocateBytesAsync(length, CompressedLimit, cancellationToken)
                        .ConfigureAwait(false);
                offsets.Span[done] = place;
            }
        }
        catch
        {
            await ReleaseCompressedLockedAsync(lengths[..done], offsets[..done]).ConfigureAwait(false);
            throw;
        }
        finally
        {
            _lock.Release();
        }
    }

    /// <summary>Gives back places that nothing names.</summary>
    internal async ValueTask ReleaseCompressedAsync(ReadOnlyMemory<int> lengths, ReadOnlyMemory<long> offsets)
    {
        await _lock.WaitAsync(CancellationToken.None).ConfigureAwait(false);
        try
        {
            await ReleaseCompressedLockedAsync(lengths, offsets).ConfigureAwait(false);
        }
        finally
        {
            _lock.Release();
        }
    }

    /// <summary>Lets guest clusters that follow one another name their compressed bytes, which are written; within one
    /// L2 table.</summary>
    internal async ValueTask LinkCompressedAsync(
        long guestCluster, ReadOnlyMemory<int> lengths, ReadOnlyMemory<long> offsets)
    {
        await _lock.WaitAsync(CancellationToken.None).ConfigureAwait(false);
        try
        {
            await LimitQueuedFreesAsync().ConfigureAwait(false);
            var table = await GetWritableL2Async(guestCluster, CancellationToken.None).ConfigureAwait(false);
            var index = _layout.IndexOf(guestCluster << _clusterBits);
            lock (_gate)
            {
                for (var step = 0; step < lengths.Length; step++)
                {
                    if (lengths.Span[step] == 0)
                    {
                        continue;
                    }

                    var word = L2Entry.CompressedWord(offsets.Span[step], lengths.Span[step], _clusterBits);
                    QueueFree(_layout.Read(table.Bytes, index + step));
                    _layout.Write(table.Bytes, index + step, new ClusterEntry(word, 0));
                }

                _l2.MarkDirty(table);
            }
        }
        finally
        {
            _lock.Release();
        }
    }

    // Host offsets of compressed bytes have fewer bits than others.
    private long CompressedLimit => Math.Min(Qcow2Limits.MaximumHostOffset, 1L << (62 - (_clusterBits - 8)));

    private async ValueTask ReleaseCompressedLockedAsync(ReadOnlyMemory<int> lengths, ReadOnlyMemory<long> offsets)
    {
        for (var step = 0; step < lengths.Length; step++)
        {
            var length = lengths.Span[step];
            if (length == 0)
            {
                continue;
            }

            var offset = offsets.Span[step];
            for (var cluster = offset >> _clusterBits; cluster <= (offset + length - 1) >> _clusterBits; cluster++)
            {
                await _refcounts.DecrementAsync(cluster, CancellationToken.None).ConfigureAwait(false);
            }
        }
    }
}
