using System.Buffers;
using Tidemark.Repository.Crypto;
using ZstdSharp;

namespace Tidemark.Repository.Blobs;

/// <summary>
/// One thread's tools: a cipher, a compressor, a decompressor and scratch memory. Taken from and given back to a
/// <see cref="BlobCodecPool"/>.
/// </summary>
internal sealed class BlobCodec : IDisposable
{
    // The compressed or sealed form of one chunk; larger blobs (trees) get memory of their own.
    private const int KeptScratchLength = RepositoryLimits.MaximumChunkSize + (64 << 10);

    private readonly Compressor _compressor;
    private readonly Decompressor _decompressor = new();
    private byte[] _scratch = [];

    internal BlobCodec(RepositoryKey key, int compressionLevel)
    {
        Cipher = new BlobCipher(key);
        _compressor = new Compressor(compressionLevel);
    }

    internal BlobCipher Cipher { get; }

    /// <summary>
    /// Compresses a blob. The result lies in the codec's scratch memory, until its next use; false when it would not be
    /// shorter than the blob, which is then stored as it is.
    /// </summary>
    internal bool TryCompress(ReadOnlySpan<byte> plaintext, out ReadOnlySpan<byte> compressed)
    {
        // Exactly one byte less than the blob: what does not shrink fails early, and is not wanted.
        var target = Scratch(Math.Max(plaintext.Length - 1, 1));
        var shorter = _compressor.TryWrap(plaintext, target, out var length) && length < plaintext.Length;
        compressed = shorter ? target[..length] : default;
        return shorter;
    }

    /// <summary>Opens a sealed blob into <paramref name="plaintext"/>, which has its exact length.</summary>
    /// <returns>What is wrong with it, or null. Its digest is not checked here.</returns>
    internal string? Open(Span<byte> message, bool isCompressed, Span<byte> plaintext)
    {
        if (!isCompressed)
        {
            return Cipher.TryOpen(message, plaintext) ? null : "its authentication code is wrong";
        }

        if (message.Length < BlobCipher.Overhead)
        {
            return $"it has only {message.Length} bytes";
        }

        var compressed = message[BlobCipher.NonceLength..^BlobCipher.TagLength];
        if (!Cipher.TryOpen(message, compressed))
        {
            return "its authentication code is wrong";
        }

        try
        {
            var length = _decompressor.Unwrap(compressed, plaintext);
            return length == plaintext.Length ? null : $"it has {length} bytes, not {plaintext.Length}";
        }
        catch (ZstdException exception)
        {
            return $"it cannot be decompressed: {exception.Message}";
        }
    }

    /// <summary>Compresses a whole file's content behind its version byte (doc/design.rst, "Unpacked Data
    /// Format").</summary>
    internal byte[] SealFile(ReadOnlySpan<byte> json)
    {
        var bound = Compressor.GetCompressBound(json.Length) + 1;
        var encoded = ArrayPool<byte>.Shared.Rent(bound);
        try
        {
            encoded[0] = UnpackedVersion;
            var length = 1 + _compressor.Wrap(json, encoded.AsSpan(1));
            var content = new byte[length + BlobCipher.Overhead];
            Cipher.Seal(encoded.AsSpan(0, length), content);
            return content;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(encoded);
        }
    }

    /// <summary>Opens a whole file: the JSON that it holds.</summary>
    /// <exception cref="RepositoryException">It is damaged, too long, or of an unknown encoding.</exception>
    internal ReadOnlyMemory<byte> OpenFile(byte[] content, string where)
    {
        if (content.Length < BlobCipher.Overhead + 1)
        {
            throw new RepositoryException(
                RepositoryErrorKind.Damaged, $"{where} is damaged: it has only {content.Length} bytes");
        }

        var plaintext = content.AsMemory(BlobCipher.NonceLength, content.Length - BlobCipher.Overhead);
        if (!Cipher.TryOpen(content, plaintext.Span))
        {
            throw new RepositoryException(
                RepositoryErrorKind.Damaged, $"{where} is damaged: its authentication code is wrong");
        }

        return plaintext.Span[0] switch
        {
            (byte)'{' or (byte)'[' => plaintext,
            UnpackedVersion => Decompress(plaintext[1..].ToArray(), where),
            var version => throw new RepositoryException(
                RepositoryErrorKind.NotSupported, $"{where} has the encoding version {version}; only 2 is supported"),
        };
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Cipher.Dispose();
        _compressor.Dispose();
        _decompressor.Dispose();
    }

    /// <summary>Scratch memory of at least one byte; valid until the next call.</summary>
    internal Span<byte> Scratch(int length)
    {
        if (length > KeptScratchLength)
        {
            return new byte[length];
        }

        if (_scratch.Length < length)
        {
            _scratch = GC.AllocateUninitializedArray<byte>(Math.Min(KeptScratchLength, Math.Max(length, 2 << 20)));
        }

        return _scratch.AsSpan(0, length);
    }

    private const byte UnpackedVersion = 2;

    // A frame need not say how long its content is (Go's encoder leaves it out of short ones), so it is read as a
    // stream.
    private static ReadOnlyMemory<byte> Decompress(byte[] compressed, string where)
    {
        var target = new ArrayBufferWriter<byte>(Math.Max(1024, 4 * compressed.Length));
        try
        {
            using var stream = new DecompressionStream(new MemoryStream(compressed));
            while (stream.Read(target.GetSpan(1)) is > 0 and var count)
            {
                target.Advance(count);
                if (target.WrittenCount > RepositoryLimits.MaximumUnpackedLength)
                {
                    throw new RepositoryException(
                        RepositoryErrorKind.NotSupported,
                        $"{where} is longer than {RepositoryLimits.MaximumUnpackedLength} bytes when decompressed");
                }
            }
        }
        catch (Exception exception) when (exception is ZstdException or IOException)
        {
            throw new RepositoryException(
                RepositoryErrorKind.Damaged, $"{where} is damaged: it cannot be decompressed ({exception.Message})",
                exception);
        }

        return target.WrittenMemory;
    }
}
