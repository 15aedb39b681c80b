using System.IO.Compression;
using ZstdSharp;

namespace Tidemark.Qcow2.Compression;

/// <summary>Decodes one compressed cluster: raw deflate, or one zstd frame; the bytes behind its end mean
/// nothing.</summary>
internal static class ClusterDecoder
{
    /// <summary>Decodes exactly one cluster.</summary>
    /// <param name="compressionType">0 zlib, 1 zstd.</param>
    /// <param name="source">The compressed bytes, in whole sectors.</param>
    /// <param name="sourceLength">How many of them there are.</param>
    /// <param name="target">The cluster.</param>
    /// <param name="hostOffset">Where the bytes lie, for the message.</param>
    /// <exception cref="Qcow2Exception">The bytes do not decode to a whole cluster.</exception>
    internal static void Decode(int compressionType, byte[] source, int sourceLength, Span<byte> target,
        long hostOffset)
    {
        try
        {
            using var input = new MemoryStream(source, 0, sourceLength, writable: false);
            using Stream decoder = compressionType == 0
                ? new DeflateStream(input, CompressionMode.Decompress)
                : new DecompressionStream(input);
            decoder.ReadExactly(target);
        }
        catch (Exception exception) when (exception is InvalidDataException or EndOfStreamException or ZstdException)
        {
            throw new Qcow2Exception(
                Blocks.Nodes.BlockErrorKind.Corrupt,
                $"the compressed cluster at 0x{hostOffset:x}, {sourceLength} bytes, cannot be decoded: "
                + $"{exception.Message}",
                exception);
        }
    }
}
