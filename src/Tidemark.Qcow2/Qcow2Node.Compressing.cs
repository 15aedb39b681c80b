using System.Buffers;
using System.Collections.Concurrent;
using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Compression;

namespace Tidemark.Qcow2;

// Compressed writes: compress on the caller's thread, set places aside, write them together, link them.
public sealed partial class Qcow2Node
{
    // The most clusters of one step.
    private const int CompressedStep = 64;

    private readonly ConcurrentBag<ClusterEncoder> _encoders = [];

    /// <summary>
    /// Writes whole clusters compressed, for an image that is made once and read often: the bytes of neighbours lie
    /// packed behind one another. A cluster that does not get smaller is stored as it is.
    /// </summary>
    /// <param name="offset">The first byte, that of a cluster.</param>
    /// <param name="source">Whole clusters; only the last of the disk may be cut short. The more at once, the fewer and
    /// larger the writes of the file.</param>
    /// <param name="cancellationToken">Stops it; clusters that were not written are as they were.</param>
    /// <remarks>Thread-safe: compression runs on the calling thread, so who wants several cores brings several
    /// threads.</remarks>
    /// <exception cref="BlockException">The range is not one of whole clusters, the image has an external data file, or
    /// the storage failed.</exception>
    public async ValueTask WriteCompressedAsync(
        long offset, ReadOnlyMemory<byte> source, CancellationToken cancellationToken = default)
    {
        CheckInside(offset, source.Length);
        CheckMayChange("write compressed clusters to");
        if (_layout.HasDataFile)
        {
            throw Qcow2Exception.NotSupported(
                $"node '{Name}' has an external data file, which cannot hold compressed clusters");
        }

        if (offset % ClusterSize != 0 || (source.Length % ClusterSize != 0 && offset + source.Length != Length))
        {
            throw new BlockException(
                BlockErrorKind.OutOfRange,
                $"compressed clusters are written whole: range {offset}+{source.Length} of node '{Name}' is not a "
                + $"multiple of {ClusterSize}");
        }

        try
        {
            for (var done = 0; done < source.Length;)
            {
                var tableEnd = ((offset + done) >> _layout.CoverageBits) + 1 << _layout.CoverageBits;
                var limit = Math.Min(tableEnd - offset - done, (long)CompressedStep << _clusterBits);
                var part = (int)Math.Min(source.Length - done, limit);
                await WriteCompressedStepAsync(offset + done, source.Slice(done, part), cancellationToken)
                    .ConfigureAwait(false);
                done += part;
            }
        }
        finally
        {
            Bitmaps.MarkDirty(offset, source.Length);
        }
    }

    private async ValueTask WriteCompressedStepAsync(
        long offset, ReadOnlyMemory<byte> source, CancellationToken cancellationToken)
    {
        var count = (source.Length + ClusterSize - 1) >> _clusterBits;
        var packed = ArrayPool<byte>.Shared.Rent(count << _clusterBits);
        var lengths = ArrayPool<int>.Shared.Rent(count);
        var places = ArrayPool<long>.Shared.Rent(count);
        try
        {
            Encode(source.Span, packed, lengths.AsSpan(0, count));
            await StoreCompressedAsync(
                offset, packed, lengths.AsMemory(0, count), places.AsMemory(0, count), cancellationToken)
                .ConfigureAwait(false);
            for (var index = 0; index < count; index++)
            {
                if (lengths[index] == 0)
                {
                    var start = index << _clusterBits;
                    var plain = source.Slice(start, Math.Min(ClusterSize, source.Length - start));
                    await WriteCoreAsync(offset + start, plain, WriteFlags.None, cancellationToken)
                        .ConfigureAwait(false);
                }
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(packed);
            ArrayPool<int>.Shared.Return(lengths);
            ArrayPool<long>.Shared.Return(places);
        }
    }

    // The compressed bytes of all clusters one behind the other; length zero for those that do not get smaller.
    private void Encode(ReadOnlySpan<byte> source, byte[] packed, Span<int> lengths)
    {
        if (!_encoders.TryTake(out var encoder))
        {
            encoder = new ClusterEncoder(Header.CompressionType, _compressionLevel);
        }

        var padded = source.Length % ClusterSize == 0 ? null : ArrayPool<byte>.Shared.Rent(ClusterSize);
        var at = 0;
        for (var index = 0; index < lengths.Length; index++)
        {
            var cluster = source[(index << _clusterBits)..];
            if (cluster.Length >= ClusterSize)
            {
                cluster = cluster[..ClusterSize];
            }
            else
            {
                var whole = padded.AsSpan(0, ClusterSize);
                cluster.CopyTo(whole);
                whole[cluster.Length..].Clear();
                cluster = whole;
            }

            lengths[index] = encoder.Encode(cluster, packed.AsSpan(at, ClusterSize - 1));
            at += lengths[index];
        }

        if (padded is not null)
        {
            ArrayPool<byte>.Shared.Return(padded);
        }

        _encoders.Add(encoder);
    }

    private async ValueTask StoreCompressedAsync(
        long offset, byte[] packed, ReadOnlyMemory<int> lengths, Memory<long> places,
        CancellationToken cancellationToken)
    {
        var first = offset >> _clusterBits;
        var held = await _locks.AcquireAsync(first, first + lengths.Length - 1, cancellationToken)
            .ConfigureAwait(false);
        try
        {
            await _metadata.PlaceCompressedAsync(lengths, places, cancellationToken).ConfigureAwait(false);
            try
            {
                await WritePackedAsync(packed, lengths, places, cancellationToken).ConfigureAwait(false);
                await _metadata.LinkCompressedAsync(first, lengths, places).ConfigureAwait(false);
            }
            catch
            {
                await _metadata.ReleaseCompressedAsync(lengths, places).ConfigureAwait(false);
                throw;
            }
        }
        finally
        {
            _locks.Release(held);
        }
    }

    // One write for each run of places that follow one another.
    private async ValueTask WritePackedAsync(
        byte[] packed, ReadOnlyMemory<int> lengths, ReadOnlyMemory<long> places, CancellationToken cancellationToken)
    {
        var at = 0;
        for (var index = 0; index < lengths.Length;)
        {
            var place = places.Span[index];
            var length = lengths.Span[index++];
            while (index < lengths.Length && length > 0
                && (lengths.Span[index] == 0 || places.Span[index] == place + length))
            {
                length += lengths.Span[index++];
            }

            if (length > 0)
            {
                await _file.WriteAsync(place, packed.AsMemory(at, length), cancellationToken).ConfigureAwait(false);
                at += length;
            }
        }
    }
}
