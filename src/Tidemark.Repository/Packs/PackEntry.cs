using Tidemark.Repository.Blobs;

namespace Tidemark.Repository.Packs;

/// <summary>One blob of a pack, as the pack's header and the index files name it.</summary>
/// <param name="Type">Data or tree.</param>
/// <param name="Id">The digest of the plaintext.</param>
/// <param name="Offset">Where its sealed bytes begin.</param>
/// <param name="SealedLength">How many they are.</param>
/// <param name="UncompressedLength">The plaintext's length if it is compressed, else zero.</param>
internal readonly record struct PackEntry(
    BlobType Type, BlobId Id, uint Offset, uint SealedLength, uint UncompressedLength)
{
    /// <summary>How many bytes the entry takes in a pack's header.</summary>
    internal int HeaderLength =>
        UncompressedLength == 0 ? PackHeader.PlainEntryLength : PackHeader.CompressedEntryLength;
}
