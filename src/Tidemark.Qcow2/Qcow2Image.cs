using System.Buffers.Binary;
using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Bitmaps;
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
        return Qcow2HeaderReader.Read(cluster);
    }

    /// <summary>
    /// Writes an empty image into a file node: header, refcount table and blocks, L1 table, and what is to be
    /// preallocated. All is durable when the call completes.
    /// </summary>
    /// <param name="file">A writable node; what it held is overwritten. It is resized where it can be.</param>
    /// <param name="options">What the image is to be.</param>
    /// <param name="cancellationToken">Stops the writing; the file then holds no image, or one that is not preallocated
    /// in full.</param>
    /// <exception cref="Qcow2Exception">An option is out of its limits, or contradicts another one.</exception>
    public static async ValueTask CreateAsync(
        BlockNode file, Qcow2CreateOptions options, CancellationToken cancellationToken = default)
    {
        CreateRules.Check(options);
        if (options is { DataFileRaw: true, Preallocation: Qcow2Preallocation.Off })
        {
            // The data file is the disk whoever reads it; so the tables must never say otherwise.
            options = options with { Preallocation = Qcow2Preallocation.Metadata };
        }

        if (options.DataFileNode is { } data)
        {
            await ClearAsync(data, options.Length, cancellationToken).ConfigureAwait(false);
        }

        var layout = CreateLayout.Make(options);
        await ClearAsync(file, layout.FileLength, cancellationToken).ConfigureAwait(false);
        await WriteTablesAsync(file, layout, cancellationToken).ConfigureAwait(false);
        if (options.Preallocation != Qcow2Preallocation.Off)
        {
            var open = new Qcow2OpenOptions { WithoutBacking = true, DataFile = options.DataFileNode };
            var node = await Qcow2Node.OpenAsync("new", file, open, cancellationToken).ConfigureAwait(false);
            await using var closing = node.ConfigureAwait(false);
            await node.PreallocateAsync(0, options.Length, options.Preallocation, cancellationToken)
                .ConfigureAwait(false);
        }
    }

    /// <summary>Reads the internal snapshots of an image, in their order.</summary>
    public static async ValueTask<IReadOnlyList<InternalSnapshot>> ReadSnapshotsAsync(
        BlockNode file, CancellationToken cancellationToken = default)
    {
        var header = await ReadHeaderAsync(file, cancellationToken).ConfigureAwait(false);
        using ImageFile image = new(file, header.ClusterBits, 1);
        var (snapshots, _) = await SnapshotTable.ReadAsync(header, image.ReadAsync, true, cancellationToken)
            .ConfigureAwait(false);
        return snapshots;
    }

    /// <summary>Reads the persistent bitmaps' descriptions without opening the image, those that contradict the format
    /// among them.</summary>
    /// <exception cref="Qcow2Exception">The directory as a whole is damaged.</exception>
    public static async ValueTask<IReadOnlyList<StoredBitmapInfo>> ReadBitmapsAsync(
        BlockNode file, CancellationToken cancellationToken = default)
    {
        var header = await ReadHeaderAsync(file, cancellationToken).ConfigureAwait(false);
        if (header.BitmapsProblem is { } problem)
        {
            throw Qcow2Exception.Corrupt(problem);
        }

        if (header.Bitmaps is not { } extension)
        {
            return [];
        }

        using ImageFile image = new(file, header.ClusterBits, 1);
        var entries = await BitmapStore.ReadDirectoryAsync(
            image, extension, header.Length, header.ClusterSize, cancellationToken).ConfigureAwait(false);
        return entries.ConvertAll(entry => entry.ToInfo());
    }

    // The header comes last: until then the file is no image.
    private static async ValueTask WriteTablesAsync(
        BlockNode file, CreateLayout layout, CancellationToken cancellationToken)
    {
        var header = layout.Header;
        var size = header.ClusterSize;
        var table = new byte[header.RefcountTableClusters * (long)size];
        for (var index = 0; index < layout.Blocks; index++)
        {
            BinaryPrimitives.WriteInt64BigEndian(table.AsSpan(index * 8), layout.FirstBlock + ((long)index * size));
        }

        await file.WriteAsync(header.RefcountTableOffset, table, WriteFlags.None, cancellationToken)
            .ConfigureAwait(false);
        var codec = new RefcountCodec(header.RefcountOrder);
        var perBlock = size * 8 / header.RefcountBits;
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
        await file.WriteAsync(0, Qcow2HeaderWriter.Write(header, out _), WriteFlags.None, cancellationToken)
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

    private static async ValueTask ReadPaddedAsync(BlockNode file, Memory<byte> target,
        CancellationToken cancellationToken)
    {
        var inside = (int)Math.Min(file.Length, target.Length);
        target.Span[inside..].Clear();
        await file.ReadAsync(0, target[..inside], cancellationToken).ConfigureAwait(false);
    }
}
