using Tidemark.Repository.Blobs;
using Tidemark.Repository.Packs;

namespace Tidemark.Repository.Disks;

/// <summary>A chunk of a disk on its way into the repository.</summary>
internal sealed class ChunkJob(DiskWriter disk, int index, int version, ReadOnlyMemory<byte> content, byte[]? pooled)
    : BlobJob(BlobType.Data, content, pooled)
{
    protected override void OnStored(BlobId id, bool isNew, long bytesStored) =>
        disk.Settle(index, version, id, isNew, bytesStored);

    protected override void OnFailed(Exception exception) => disk.Unsettle(index, version);
}
