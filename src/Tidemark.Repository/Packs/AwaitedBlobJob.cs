using Tidemark.Repository.Blobs;

namespace Tidemark.Repository.Packs;

/// <summary>A blob whose id somebody waits for: a tree, or a part of a small file.</summary>
internal sealed class AwaitedBlobJob(BlobType type, ReadOnlyMemory<byte> content) : BlobJob(type, content, null)
{
    private readonly TaskCompletionSource<BlobId> _id = new(TaskCreationOptions.RunContinuationsAsynchronously);

    internal Task<BlobId> Id => _id.Task;

    protected override void OnStored(BlobId id, bool isNew, long bytesStored) => _id.TrySetResult(id);

    protected override void OnFailed(Exception exception) => _id.TrySetException(exception);
}
