using System.Buffers;
using Tidemark.Repository.Blobs;

namespace Tidemark.Repository.Packs;

/// <summary>
/// One blob on its way into the repository. Whoever enqueues it gives the memory away: the <see cref="BlobWriter"/>
/// returns a pooled array on every path.
/// </summary>
internal abstract class BlobJob(BlobType type, ReadOnlyMemory<byte> content, byte[]? pooled)
{
    private byte[]? _pooled = pooled;
    private int _told;

    internal BlobType Type => type;

    internal ReadOnlyMemory<byte> Content => content;

    /// <summary>The blob has its id, and its bytes are in the repository or in a pack that is being filled.</summary>
    /// <param name="id">The digest.</param>
    /// <param name="isNew">Whether this job added the bytes.</param>
    /// <param name="bytesStored">How many bytes it added to a pack; zero when the blob was known.</param>
    internal void Stored(BlobId id, bool isNew, long bytesStored)
    {
        if (Interlocked.Exchange(ref _told, 1) == 0)
        {
            OnStored(id, isNew, bytesStored);
        }
    }

    /// <summary>The run failed before the blob was stored.</summary>
    internal void Failed(Exception exception)
    {
        if (Interlocked.Exchange(ref _told, 1) == 0)
        {
            OnFailed(exception);
        }
    }

    /// <summary>As <see cref="Stored"/>; a job is told once, of the first that happens.</summary>
    protected abstract void OnStored(BlobId id, bool isNew, long bytesStored);

    /// <summary>As <see cref="Failed"/>; a job is told once, of the first that happens.</summary>
    protected abstract void OnFailed(Exception exception);

    internal void ReleaseMemory()
    {
        if (Interlocked.Exchange(ref _pooled, null) is { } array)
        {
            ArrayPool<byte>.Shared.Return(array);
        }
    }
}
