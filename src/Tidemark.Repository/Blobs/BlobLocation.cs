using Tidemark.Repository.Crypto;

namespace Tidemark.Repository.Blobs;

/// <summary>Where a blob is stored.</summary>
/// <param name="Pack">The pack that holds it.</param>
/// <param name="Offset">Where its sealed bytes begin in the pack.</param>
/// <param name="SealedLength">How many bytes it takes there: nonce, ciphertext and tag.</param>
/// <param name="UncompressedLength">The plaintext's length if it is compressed, zero if it is stored as it is.</param>
internal readonly record struct BlobLocation(BlobId Pack, uint Offset, uint SealedLength, uint UncompressedLength)
{
    /// <summary>Whether the sealed bytes are zstd.</summary>
    internal bool IsCompressed => UncompressedLength != 0;

    /// <summary>The plaintext's length in bytes.</summary>
    internal long PlaintextLength =>
        IsCompressed ? UncompressedLength : (long)SealedLength - BlobCipher.Overhead;
}
