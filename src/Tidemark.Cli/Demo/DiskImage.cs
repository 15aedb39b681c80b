using System.Buffers;
using Microsoft.Win32.SafeHandles;

namespace Tidemark.Cli.Demo;

/// <summary>A raw image of the demo's own: what the disk must hold, made from the guest's log alone.</summary>
internal sealed class DiskImage : IDisposable
{
    /// <summary>The unit in which images are compared, in bytes.</summary>
    public const int BlockLength = 64 * 1024;

    private readonly SafeFileHandle _file;

    private DiskImage(SafeFileHandle file) => _file = file;

    /// <summary>Creates an image of zeroes.</summary>
    public static DiskImage Create(string path, long length)
    {
        var image = new DiskImage(File.OpenHandle(path, FileMode.CreateNew, FileAccess.ReadWrite));
        RandomAccess.SetLength(image._file, length);
        return image;
    }

    /// <summary>Opens an image to read it.</summary>
    public static DiskImage Open(string path) => new(File.OpenHandle(path));

    /// <summary>Carries out writes of the guest, in order.</summary>
    public void Apply(IEnumerable<GuestWrite> writes, CancellationToken cancellationToken)
    {
        foreach (var write in writes)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var buffer = ArrayPool<byte>.Shared.Rent(write.Length);
            var bytes = buffer.AsSpan(0, write.Length);
            Content.Fill(bytes, write.Kind, write.Seed);
            RandomAccess.Write(_file, bytes, write.Offset);
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    /// <summary>Compares every byte; the images must be equally long.</summary>
    /// <returns>The indexes of the blocks of <see cref="BlockLength"/>
    /// that differ, or null when the lengths do.</returns>
    public IReadOnlyList<long>? FindDifferences(DiskImage other, CancellationToken cancellationToken)
    {
        var length = RandomAccess.GetLength(_file);
        if (RandomAccess.GetLength(other._file) != length)
        {
            return null;
        }

        var differing = new List<long>();
        for (var index = 0L; index * BlockLength < length; index++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            if (!BlockEquals(other, index))
            {
                differing.Add(index);
            }
        }

        return differing;
    }

    /// <summary>Compares one block.</summary>
    public bool BlockEquals(DiskImage other, long index)
    {
        var ours = ArrayPool<byte>.Shared.Rent(BlockLength);
        var theirs = ArrayPool<byte>.Shared.Rent(BlockLength);
        try
        {
            var one = ReadBlock(_file, index, ours);
            return one.SequenceEqual(ReadBlock(other._file, index, theirs));
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(ours);
            ArrayPool<byte>.Shared.Return(theirs);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    private static ReadOnlySpan<byte> ReadBlock(SafeFileHandle file, long index, byte[] buffer)
    {
        var count = 0;
        while (count < BlockLength)
        {
            var read =
                RandomAccess.Read(file, buffer.AsSpan(count, BlockLength - count), (index * BlockLength) + count);
            if (read == 0)
            {
                break;
            }

            count += read;
        }

        return buffer.AsSpan(0, count);
    }
}
