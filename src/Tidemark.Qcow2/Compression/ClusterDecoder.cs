using System.Collections.Concurrent;
using Tidemark.Blocks.Nodes;
using ZstdSharp;
using ZstdSharp.Unsafe;

namespace Tidemark.Qcow2.Compression;

/// <summary>Decodes one compressed cluster: raw deflate, or one zstd frame; the bytes behind its end mean
/// nothing.</summary>
internal static class ClusterDecoder
{
    // Decodes any window that deflate has: what other programs wrote may reach back further than QEMU's 4 KiB.
    private const int LargestRawWindow = -15;

    // As many as ever decoded at the same time.
    private static readonly ConcurrentBag<Decompressor> s_decoders = [];

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
        string? why;
        try
        {
            why = compressionType == 0
                ? Inflate(source.AsSpan(0, sourceLength), target)
                : Unzstd(source.AsSpan(0, sourceLength), target);
        }
        catch (ZstdException exception)
        {
            why = exception.Message;
        }

        if (why is not null)
        {
            throw new Qcow2Exception(
                BlockErrorKind.Corrupt,
                $"the compressed cluster at 0x{hostOffset:x}, {sourceLength} bytes, cannot be decoded: {why}");
        }
    }

    private static unsafe string? Inflate(ReadOnlySpan<byte> source, Span<byte> target)
    {
        NativeDeflate.State state = default;
        var result = NativeDeflate.InflateInit(ref state, LargestRawWindow);
        if (result != NativeDeflate.Ok)
        {
            return $"zlib does not start: error {result}";
        }

        try
        {
            fixed (byte* from = source, to = target)
            {
                state.NextIn = (IntPtr)from;
                state.NextOut = (IntPtr)to;
                state.AvailableIn = (uint)source.Length;
                state.AvailableOut = (uint)target.Length;
                result = NativeDeflate.Inflate(ref state, NativeDeflate.Finish);
            }

            return state.AvailableOut != 0 ? $"it ends {state.AvailableOut} bytes early (zlib: {result})"
                : result is NativeDeflate.StreamEnd or NativeDeflate.Ok or NativeDeflate.BufferError ? null
                : $"zlib says {result}";
        }
        finally
        {
            _ = NativeDeflate.InflateEnd(ref state);
        }
    }

    // The frame's own length is found first: what follows it in the last sector is not zstd.
    private static unsafe string? Unzstd(ReadOnlySpan<byte> source, Span<byte> target)
    {
        nuint length;
        fixed (byte* from = source)
        {
            length = Methods.ZSTD_findFrameCompressedSize(from, (nuint)source.Length);
        }

        if (Methods.ZSTD_isError(length))
        {
            return "it is no whole zstd frame";
        }

        if (!s_decoders.TryTake(out var decoder))
        {
            decoder = new Decompressor();
        }

        try
        {
            return !decoder.TryUnwrap(source[..(int)length], target, out var written) ? "it is longer than a cluster"
                : written != target.Length ? $"it ends {target.Length - written} bytes early"
                : null;
        }
        finally
        {
            s_decoders.Add(decoder);
        }
    }
}
