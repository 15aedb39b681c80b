using Tidemark.Blocks.Files;
using Tidemark.Blocks.Nodes;
using Tidemark.Images.Formats;
using Tidemark.Images.HostFiles;
using Tidemark.Images.Naming;
using Tidemark.Images.Opening;
using Tidemark.Nbd.Client;
using Tidemark.Qcow2;

namespace Tidemark.Images.Creating;

/// <summary>Makes new images, empty ones.</summary>
public static class ImageCreate
{
    private const int SectorSize = 512;

    /// <summary>Completes what the options do not say: the size from the backing file.</summary>
    /// <param name="name">The new image's name.</param>
    /// <param name="options">What it is to be.</param>
    /// <param name="open">How the backing file is opened to look at it; null not to look at it.</param>
    /// <param name="cancellationToken">Stops it.</param>
    /// <exception cref="BlockException">The backing file cannot be opened, or nothing says the size.</exception>
    public static async ValueTask<CreateOptions> CompleteAsync(
        string name, CreateOptions options, ImageOpenOptions? open, CancellationToken cancellationToken = default)
    {
        if (options.BackingFile is { Length: > 0 } backing)
        {
            if (options.Format == ImageFormat.Raw)
            {
                throw ImageException.Invalid($"{name}: Backing file not supported for file format 'raw'");
            }

            if (string.IsNullOrEmpty(options.BackingFormat))
            {
                throw ImageException.Invalid(
                    $"{name}: Backing file specified without backing format: to guess it would be unsafe, say it");
            }

            ImageFormat.Require(options.BackingFormat, backing, wasProbed: false);
            if (open is not null)
            {
                var place = ImageName.IsJson(name) ? null : ImageName.ReadPlace(name).Path;
                var below = await ImageOpener.OpenAsync(
                    ImageName.Resolve(name, place, backing),
                    open with { Format = ImageName.IsJson(backing) ? null : options.BackingFormat },
                    cancellationToken).ConfigureAwait(false);
                await using var closing = below.ConfigureAwait(false);
                if (below.TopLayer.Path is { } path && path == place)
                {
                    throw ImageException.Invalid($"{name}: an image cannot be its own backing file");
                }

                options = options with { Length = options.Length ?? below.Top.Length };
            }
        }

        return options.Length is not null
            ? options
            : throw ImageException.Invalid($"{name}: Image creation needs a size parameter");
    }

    /// <summary>Creates the image; a file that exists is emptied first, a server's export is written over. Durable when
    /// the call completes.</summary>
    /// <param name="name">A path, or an NBD URI.</param>
    /// <param name="options">What it is to be, complete; its size is rounded up to whole sectors.</param>
    /// <param name="cancellationToken">Stops it; what was there is then no image.</param>
    /// <exception cref="BlockException">It cannot be written, is locked, or an option is out of its
    /// limits.</exception>
    public static async ValueTask CreateAsync(
        string name, CreateOptions options, CancellationToken cancellationToken = default)
    {
        options = options with { Length = RoundUp(options.Length ?? 0) };
        var place = ImageName.IsJson(name)
            ? throw ImageException.NotSupported($"'{name}' cannot be created: write a path or an NBD URI")
            : ImageName.ReadPlace(name);
        var file = await OpenPlaceAsync(place, cancellationToken).ConfigureAwait(false);
        await using var closing = file.ConfigureAwait(false);
        if (options.Format == ImageFormat.Raw)
        {
            await CreateRawAsync(file, place, options, cancellationToken).ConfigureAwait(false);
            return;
        }

        BlockNode? data = null;
        try
        {
            if (options.DataFile is { } dataName)
            {
                var dataPlace = ImageName.ReadPlace(ImageName.Resolve(name, place.Path, dataName));
                data = await OpenPlaceAsync(dataPlace, cancellationToken).ConfigureAwait(false);
            }

            await Qcow2Image.CreateAsync(file, ToQcow2(options, data), cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            if (data is not null)
            {
                await data.DisposeAsync().ConfigureAwait(false);
            }
        }
    }

    /// <summary>Allocates a range of a raw file in advance, or writes zeroes to it.</summary>
    internal static async ValueTask PreallocateRawAsync(
        BlockNode file, string? path, long offset, long length, Qcow2Preallocation mode,
        CancellationToken cancellationToken)
    {
        if (mode == Qcow2Preallocation.Off || length == 0)
        {
            return;
        }

        if (path is null || mode == Qcow2Preallocation.Metadata)
        {
            throw ImageException.NotSupported($"'{file.Name}' cannot be preallocated in this way");
        }

        HostFile.Allocate(path, offset, length);
        if (mode == Qcow2Preallocation.Full)
        {
            var zeroes = new byte[1 << 20];
            for (long done = 0; done < length; done += zeroes.Length)
            {
                var part = (int)Math.Min(zeroes.Length, length - done);
                await file.WriteAsync(offset + done, zeroes.AsMemory(0, part), WriteFlags.None, cancellationToken)
                    .ConfigureAwait(false);
            }
        }
    }

    private static long RoundUp(long length) => length > long.MaxValue - SectorSize
        ? throw ImageException.Invalid($"an image of {length} bytes is too large")
        : (length + SectorSize - 1) / SectorSize * SectorSize;

    private static async ValueTask CreateRawAsync(
        BlockNode file, ImagePlace place, CreateOptions options, CancellationToken cancellationToken)
    {
        var length = options.Length!.Value;
        if (place.Path is null)
        {
            if (file.Length < length)
            {
                throw ImageException.Invalid(
                    $"'{place.DisplayName}' has {file.Length} bytes, too few for an image of {length}");
            }

            return;
        }

        await file.ResizeAsync(0, cancellationToken).ConfigureAwait(false);
        await file.ResizeAsync(length, cancellationToken).ConfigureAwait(false);
        await PreallocateRawAsync(
            file, place.Path, 0, length, options.Qcow2Preallocation, cancellationToken).ConfigureAwait(false);
        await file.FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    private static async ValueTask<BlockNode> OpenPlaceAsync(ImagePlace place, CancellationToken cancellationToken)
    {
        if (place.Path is { } path)
        {
            HostFile.CreateIfMissing(path);
            return RawFileNode.Open("new", path, readOnly: false);
        }

        return await NbdNode.ConnectAsync(
            "new", place.EndPoint!, new NbdNodeOptions { ExportName = place.ExportName }, cancellationToken)
            .ConfigureAwait(false);
    }

    private static Qcow2CreateOptions ToQcow2(CreateOptions options, BlockNode? data) => new()
    {
        Length = options.Length!.Value,
        Version = options.Version,
        ClusterSize = options.ClusterSize,
        RefcountBits = options.RefcountBits,
        LazyRefcounts = options.LazyRefcounts,
        ExtendedL2 = options.ExtendedL2,
        CompressionType = options.CompressionType == "zstd" ? 1 : 0,
        BackingFile = string.IsNullOrEmpty(options.BackingFile) ? null : options.BackingFile,
        BackingFormat = string.IsNullOrEmpty(options.BackingFile) ? null : options.BackingFormat,
        DataFile = options.DataFile,
        DataFileRaw = options.DataFileRaw ?? false,
        DataFileNode = data,
        Preallocation = options.Qcow2Preallocation,
    };
}
