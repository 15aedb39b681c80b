using System.Buffers.Binary;
using System.Numerics;
using System.Text;
using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Format;
using Tidemark.Qcow2.Metadata;

namespace Tidemark.Qcow2;

/// <summary>Images as files: reading a header before the backing file is opened, and creating an image.</summary>
public static class Qcow2Image
{
    private const int ProbeLength = 512;

    /// <summary>Whether a file begins as a qcow2 image does.</summary>
    public static async ValueTask<bool> IsQcow2Async(BlockNode file, CancellationToken cancellationToken = default)
    {
        if (file.Length < sizeof(uint))
        {
            return false;
        }

        var magic = new byte[sizeof(uint)];
        await file.ReadAsync(0, magic, cancellationToken).ConfigureAwait(false);
        return BinaryPrimitives.ReadUInt32BigEndian(magic) == Qcow2Header.Magic;
    }

    /// <summary>Reads and checks the header.</summary>
    /// <exception cref="Qcow2Exception">Not an image, damaged, or not supported, by name.</exception>
    public static async ValueTask<Qcow2Header> ReadHeaderAsync(BlockNode file,
        CancellationToken cancellationToken = default)
    {
        var start = new byte[ProbeLength];
        await ReadPaddedAsync(file, start, cancellationToken).ConfigureAwait(false);
        var cluster = new byte[1 << Qcow2HeaderReader.ReadClusterBits(start)];
        await ReadPaddedAsync(file, cluster, cancellationToken).ConfigureAwait(false);
        return Qcow2HeaderReader.Read(cluster, file.Length);
    }

    /// <summary>
    /// Writes an empty version 3 image into a file node: header, refcount table, one refcount block, L1 table. The file
    /// is durable when the call completes.
    /// </summary>
    /// <param name="file">A writable node; what it held is overwritten. It is resized where it can be.</param>
    /// <param name="options">What the image is to be.</param>
    /// <param name="cancellationToken">Stops the writing; the file then holds no image.</param>
    /// <exception cref="Qcow2Exception">An option is out of its limits.</exception>
    public static async ValueTask CreateAsync(
        BlockNode file, Qcow2CreateOptions options, CancellationToken cancellationToken = default)
    {
        Check(options);
        var layout = Layout(options);
        var size = options.ClusterSize;
        var end = (long)layout.Clusters * size;
        await ClearAsync(file, end, cancellationToken).ConfigureAwait(false);

        // The header comes last: until then the file is no image.
        var table = new byte[layout.Header.RefcountTableClusters * (long)size];
        for (var index = 0; index < layout.Blocks; index++)
        {
            BinaryPrimitives.WriteInt64BigEndian(table.AsSpan(index * 8), layout.FirstBlock + ((long)index * size));
        }

        await file.WriteAsync(layout.Header.RefcountTableOffset, table, WriteFlags.None, cancellationToken)
            .ConfigureAwait(false);
        var codec = new RefcountCodec(layout.Header.RefcountOrder);
        var perBlock = size * 8 / options.RefcountBits;
        var block = new byte[size];
        for (var index = 0; index < layout.Blocks; index++)
        {
            Array.Clear(block);
            for (var entry = 0; entry < Math.Min(perBlock, layout.Clusters - ((long)index * perBlock)); entry++)
            {
                codec.Set(block, entry, 1);
            }

            await file.WriteAsync(layout.FirstBlock + ((long)index * size), block, WriteFlags.None, cancellationToken)
                .ConfigureAwait(false);
        }

        await file.FlushAsync(cancellationToken).ConfigureAwait(false);
        await file.WriteAsync(0, Qcow2HeaderWriter.Write(layout.Header, out _), WriteFlags.None, cancellationToken)
            .ConfigureAwait(false);
        await file.FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    // All zeroes, as long as the tables: cut and grown where the node can, else written over.
    private static async ValueTask ClearAsync(BlockNode file, long length, CancellationToken cancellationToken)
    {
        try
        {
            await file.ResizeAsync(0, cancellationToken).ConfigureAwait(false);
            await file.ResizeAsync(length, cancellationToken).ConfigureAwait(false);
        }
        catch (BlockException exception) when (exception.Kind == BlockErrorKind.NotSupported && file.Length >= length)
        {
            await file.WriteZeroesAsync(0, length, WriteFlags.MayUnmap, cancellationToken).ConfigureAwait(false);
        }
    }

    private static ImageLayout Layout(Qcow2CreateOptions options)
    {
        long size = options.ClusterSize;
        var perL2 = size * (size / 8);
        var l1Entries = (options.Length + perL2 - 1) / perL2;
        var l1Clusters = Math.Max(1, ((l1Entries * 8) + size - 1) / size);
        var perBlock = size * 8 / options.RefcountBits;
        long blocks = 1, tableClusters = 1;
        while (blocks * perBlock < 1 + tableClusters + blocks + l1Clusters)
        {
            blocks++;
            tableClusters = ((blocks * 8) + size - 1) / size;
        }

        List<HeaderExtension> extensions = [];
        if (options.BackingFormat is { } format)
        {
            extensions.Add(new HeaderExtension(HeaderExtension.BackingFormat, Encoding.UTF8.GetBytes(format)));
        }

        extensions.Add(Qcow2HeaderWriter.FeatureNameTable());
        var header = new Qcow2Header
        {
            Version = 3,
            ClusterBits = BitOperations.Log2((uint)options.ClusterSize),
            Length = options.Length,
            L1EntryCount = (int)l1Entries,
            L1Offset = (1 + tableClusters + blocks) * size,
            RefcountTableOffset = size,
            RefcountTableClusters = (int)tableClusters,
            RefcountOrder = BitOperations.Log2((uint)options.RefcountBits),
            BackingFile = options.BackingFile,
            BackingFormat = options.BackingFormat,
            Extensions = extensions,
        };
        return new ImageLayout(header, (1 + tableClusters) * size, (int)blocks,
            checked((int)(1 + tableClusters + blocks + l1Clusters)));
    }

    private static void Check(Qcow2CreateOptions options)
    {
        const int Smallest = 1 << Qcow2Limits.MinimumClusterBits, Largest = 1 << Qcow2Limits.MaximumClusterBits;
        if (options.ClusterSize is < Smallest or > Largest || !BitOperations.IsPow2(options.ClusterSize))
        {
            throw Invalid($"cluster size {options.ClusterSize} must be a power of two from {Smallest} to {Largest}");
        }

        if (options.RefcountBits is < 1 or > 64 || !BitOperations.IsPow2(options.RefcountBits))
        {
            throw Invalid($"refcount bits {options.RefcountBits} must be a power of two from 1 to 64");
        }

        if (options.Length is < 0 or > Qcow2Limits.MaximumCreateLength)
        {
            throw Invalid($"a disk of {options.Length} bytes is outside 0 to {Qcow2Limits.MaximumCreateLength}");
        }

        var perL2 = (long)options.ClusterSize * (options.ClusterSize / 8);
        if (options.Length / perL2 >= Qcow2Limits.MaximumL1Bytes / 8)
        {
            throw Invalid($"a disk of {options.Length} bytes needs clusters larger than {options.ClusterSize} bytes");
        }

        if (options.BackingFile is { } name)
        {
            var length = Encoding.UTF8.GetByteCount(name);
            if (length is 0 or > Qcow2Limits.MaximumBackingFileLength)
            {
                throw Invalid(
                    $"the backing file's name has {length} bytes; 1 to {Qcow2Limits.MaximumBackingFileLength} "
                    + $"are possible");
            }

            if (string.IsNullOrEmpty(options.BackingFormat))
            {
                throw Invalid($"the format of the backing file '{name}' must be given: to guess it is unsafe");
            }
        }

        if (options.BackingFormat is { } format
            && (options.BackingFile is null
                || Encoding.UTF8.GetByteCount(format) > Qcow2Limits.MaximumBackingFormatLength))
        {
            throw Invalid($"backing format '{format}' is too long, or there is no backing file");
        }
    }

    private static Qcow2Exception Invalid(string message) => new(BlockErrorKind.Invalid, message);

    private static async ValueTask ReadPaddedAsync(BlockNode file, Memory<byte> target,
        CancellationToken cancellationToken)
    {
        var inside = (int)Math.Min(file.Length, target.Length);
        target.Span[inside..].Clear();
        await file.ReadAsync(0, target[..inside], cancellationToken).ConfigureAwait(false);
    }

    private readonly record struct ImageLayout(Qcow2Header Header, long FirstBlock, int Blocks, int Clusters);
}
