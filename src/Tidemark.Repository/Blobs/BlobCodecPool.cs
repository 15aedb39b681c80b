using System.Collections.Concurrent;
using Tidemark.Repository.Crypto;

namespace Tidemark.Repository.Blobs;

/// <summary>Keeps idle <see cref="BlobCodec"/>s of one repository. Thread-safe.</summary>
internal sealed class BlobCodecPool(RepositoryKey key, int compressionLevel) : IDisposable
{
    private readonly ConcurrentBag<BlobCodec> _idle = [];
    private readonly int _maximumIdle = 2 * Environment.ProcessorCount;

    /// <summary>Takes a codec; the caller gives it back with <see cref="Return"/>, or disposes it.</summary>
    internal BlobCodec Rent() => _idle.TryTake(out var codec) ? codec : new BlobCodec(key, compressionLevel);

    internal void Return(BlobCodec codec)
    {
        if (_idle.Count < _maximumIdle)
        {
            _idle.Add(codec);
        }
        else
        {
            codec.Dispose();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        while (_idle.TryTake(out var codec))
        {
            codec.Dispose();
        }
    }
}
