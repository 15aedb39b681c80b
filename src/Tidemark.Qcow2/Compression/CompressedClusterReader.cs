using System.Buffers;
using Tidemark.Qcow2.Format;
using Tidemark.Qcow2.Metadata;

namespace Tidemark.Qcow2.Compression;

/// <summary>Reads parts of compressed clusters; keeps the last decoded cluster, because readers come in small
/// steps.</summary>
/// <remarks>Thread-safe. The kept cluster is known by its L2 entry, so it is forgotten when clusters are freed and its
/// host bytes may become another's.</remarks>
internal sealed class CompressedClusterReader(ImageFile file, int clusterBits, int compressionType)
{
    private readonly Lock _gate = new();
    private byte[]? _kept;
    private ulong _keptEntry;
    private int _generation;

    /// <summary>Forgets what is kept.</summary>
    internal void Forget()
    {
        lock (_gate)
        {
            _generation++;
            _keptEntry = 0;
        }
    }

    internal async ValueTask ReadAsync(ulong entry, int offsetInCluster, Memory<byte> target,
        CancellationToken cancellationToken)
    {
        int generation;
        lock (_gate)
        {
            if (_keptEntry == entry && _kept is not null)
            {
                _kept.AsSpan(offsetInCluster, target.Length).CopyTo(target.Span);
                return;
            }

            generation = _generation;
        }

        var clusterSize = 1 << clusterBits;
        var (offset, length) = L2Entry.CompressedRange(entry, clusterBits);
        var compressed = ArrayPool<byte>.Shared.Rent(length);
        if (target.Length == clusterSize)
        {
            // Who reads whole clusters reads each once.
            await ReadWholeAsync(offset, compressed, length, target, cancellationToken).ConfigureAwait(false);
            return;
        }

        var plain = ArrayPool<byte>.Shared.Rent(clusterSize);
        try
        {
            await file.ReadAsync(offset, compressed.AsMemory(0, length), cancellationToken).ConfigureAwait(false);
            ClusterDecoder.Decode(compressionType, compressed, length, plain.AsSpan(0, clusterSize), offset);
            plain.AsSpan(offsetInCluster, target.Length).CopyTo(target.Span);
            lock (_gate)
            {
                if (generation == _generation)
                {
                    (_kept, plain) = (plain, _kept ?? []);
                    _keptEntry = entry;
                }
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(compressed);
            if (plain.Length > 0)
            {
                ArrayPool<byte>.Shared.Return(plain);
            }
        }
    }

    private async ValueTask ReadWholeAsync(
        long offset, byte[] compressed, int length, Memory<byte> target, CancellationToken cancellationToken)
    {
        try
        {
            await file.ReadAsync(offset, compressed.AsMemory(0, length), cancellationToken).ConfigureAwait(false);
            ClusterDecoder.Decode(compressionType, compressed, length, target.Span, offset);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(compressed);
        }
    }
}
