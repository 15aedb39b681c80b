using System.Collections.Concurrent;
using System.Numerics;
using Tidemark.Repository.Blobs;

namespace Tidemark.Repository.Disks;

/// <summary>
/// The complete list of the chunks of one disk at one instant: chunk <c>i</c> holds the bytes from <c>i · ChunkSize</c>
/// on, and only the last one may be shorter. Immutable.
/// </summary>
public sealed class DiskIndex
{
    private static readonly ConcurrentDictionary<int, BlobId> s_zeroIds = new();

    private readonly BlobId[] _chunks;

    /// <summary>Takes the list; the array now belongs to the index.</summary>
    internal DiskIndex(string name, long length, int chunkSize, BlobId[] chunks)
    {
        CheckGeometry(name, length, chunkSize);
        if (chunks.Length != ChunkCountOf(length, chunkSize))
        {
            throw new ArgumentException(
                $"disk '{name}' of {length} bytes has {ChunkCountOf(length, chunkSize)} chunks, not {chunks.Length}");
        }

        Name = name;
        Length = length;
        ChunkSize = chunkSize;
        _chunks = chunks;
    }

    /// <summary>The disk's name.</summary>
    public string Name { get; }

    /// <summary>The disk's length in bytes.</summary>
    public long Length { get; }

    /// <summary>The length of a chunk in bytes, a power of two.</summary>
    public int ChunkSize { get; }

    /// <summary>How many chunks there are.</summary>
    public int Count => _chunks.Length;

    /// <summary>All chunk ids in order.</summary>
    public ReadOnlySpan<BlobId> Chunks => _chunks;

    /// <summary>The id of a chunk.</summary>
    public BlobId this[int index] => _chunks[index];

    /// <summary>The length of a chunk in bytes: <see cref="ChunkSize"/>, less for the last one.</summary>
    public int LengthOf(int index) => LengthOf(index, Length, ChunkSize);

    /// <summary>Whether a chunk is all zero.</summary>
    public bool IsZero(int index) => _chunks[index] == ZeroId(LengthOf(index));

    /// <summary>How many chunks a disk of this length has.</summary>
    public static int ChunkCountOf(long length, int chunkSize) => checked((int)((length + chunkSize - 1) / chunkSize));

    /// <summary>The id of a chunk of zeroes: the one well-known blob of that length.</summary>
    public static BlobId ZeroId(int length) =>
        s_zeroIds.GetOrAdd(length, static length => BlobId.Of(new byte[length]));

    internal static int LengthOf(int index, long length, int chunkSize) =>
        (int)Math.Min(chunkSize, length - (long)index * chunkSize);

    /// <summary>Refuses what no disk can have.</summary>
    internal static void CheckGeometry(string name, long length, int chunkSize)
    {
        if (!BitOperations.IsPow2(chunkSize)
            || chunkSize is < RepositoryLimits.MinimumChunkSize or > RepositoryLimits.MaximumChunkSize)
        {
            throw new RepositoryException(
                RepositoryErrorKind.Invalid,
                $"disk '{name}': a chunk size of {chunkSize} bytes is not a power of two from "
                + $"{RepositoryLimits.MinimumChunkSize} to {RepositoryLimits.MaximumChunkSize}");
        }

        if (length < 0 || length > (long)chunkSize * RepositoryLimits.MaximumDiskChunks)
        {
            throw new RepositoryException(
                RepositoryErrorKind.NotSupported,
                $"disk '{name}': a length of {length} bytes is more than {RepositoryLimits.MaximumDiskChunks} "
                + "chunks of "
                + $"{chunkSize} bytes; use larger chunks");
        }
    }
}
