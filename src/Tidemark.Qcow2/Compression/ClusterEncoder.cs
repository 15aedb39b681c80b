using ZstdSharp;

namespace Tidemark.Qcow2.Compression;

/// <summary>Compresses clusters as QEMU can decode them: raw deflate with a window of 4 KiB, or one zstd frame. Not
/// thread-safe: each writer has its own.</summary>
internal sealed class ClusterEncoder : IDisposable
{
    private const int MemoryLevel = 9, DefaultStrategy = 0, DefaultDeflateLevel = 2, DefaultZstdLevel = 1;

    private readonly int _level;
    private readonly Compressor? _zstd;

    /// <param name="compressionType">0 zlib, 1 zstd.</param>
    /// <param name="level">The library's level; null for the fast end that is nearly as small as QEMU's: level 2 for
    /// zlib, level 1 for zstd.</param>
    internal ClusterEncoder(int compressionType, int? level)
    {
        _level = level ?? DefaultDeflateLevel;
        _zstd = compressionType == 0 ? null : new Compressor(level ?? DefaultZstdLevel);
    }

    /// <summary>Compresses one cluster.</summary>
    /// <returns>How many bytes it takes; zero when it does not fit in the target.</returns>
    internal int Encode(ReadOnlySpan<byte> cluster, Span<byte> target)
    {
        if (_zstd is null)
        {
            return Deflate(cluster, target);
        }

        return _zstd.TryWrap(cluster, target, out var written) ? written : 0;
    }

    public void Dispose() => _zstd?.Dispose();

    private unsafe int Deflate(ReadOnlySpan<byte> cluster, Span<byte> target)
    {
        NativeDeflate.State state = default;
        var result = NativeDeflate.DeflateInit(
            ref state, _level, NativeDeflate.Deflated, NativeDeflate.RawWindow, MemoryLevel, DefaultStrategy);
        if (result != NativeDeflate.Ok)
        {
            throw new InvalidOperationException($"zlib cannot compress at level {_level}: error {result}");
        }

        try
        {
            fixed (byte* source = cluster, destination = target)
            {
                state.NextIn = (IntPtr)source;
                state.NextOut = (IntPtr)destination;
                state.AvailableIn = (uint)cluster.Length;
                state.AvailableOut = (uint)target.Length;
                result = NativeDeflate.Deflate(ref state, NativeDeflate.Finish);
            }

            return result == NativeDeflate.StreamEnd ? target.Length - (int)state.AvailableOut : 0;
        }
        finally
        {
            _ = NativeDeflate.DeflateEnd(ref state);
        }
    }
}
