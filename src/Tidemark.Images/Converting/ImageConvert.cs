using Tidemark.Blocks.Nodes;
using Tidemark.Images.Bitmaps;
using Tidemark.Images.Creating;
using Tidemark.Images.Formats;
using Tidemark.Images.Naming;
using Tidemark.Images.Opening;

namespace Tidemark.Images.Converting;

/// <summary>Makes an image with the content of one or more others.</summary>
public static class ImageConvert
{
    private const int SubclustersPerCluster = 32;

    /// <summary>Converts. The target is durable when the call completes, unless the options say otherwise.</summary>
    /// <param name="sources">The sources, open; several are put one behind the other.</param>
    /// <param name="options">What is made of them.</param>
    /// <param name="cancellationToken">Stops it; the target is then incomplete.</param>
    /// <exception cref="BlockException">Options contradict each other, a source cannot be read or the target cannot be
    /// written.</exception>
    public static async Task RunAsync(
        IReadOnlyList<OpenImage> sources, ConvertOptions options, CancellationToken cancellationToken = default)
    {
        Check(sources, options);
        var bitmaps = options.Bitmaps
            ? BitmapCopy.Choose(sources[0], options.SkipBrokenBitmaps, options.Warn)
            : [];
        var source = sources.Count == 1
            ? sources[0].Top
            : new ConcatenatedNode("source", [.. sources.Select(image => image.Top)]);
        var create = options.Create;
        if (!options.NoCreate)
        {
            var open = new ImageOpenOptions { FollowNames = options.FollowNames };
            create = await ImageCreate.CompleteAsync(
                options.Target, create with { Length = create.Length ?? source.Length }, open, cancellationToken)
                .ConfigureAwait(false);
            await ImageCreate.CreateAsync(options.Target, create, cancellationToken).ConfigureAwait(false);
        }

        var target = await OpenTargetAsync(options, cancellationToken).ConfigureAwait(false);
        await using var closing = target.ConfigureAwait(false);
        await CopyAsync(sources, source, target, options, cancellationToken).ConfigureAwait(false);
        BitmapCopy.Run(bitmaps, target.Top);
        if (!options.WithoutFlush)
        {
            await target.Top.FlushAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    private static async Task CopyAsync(
        IReadOnlyList<OpenImage> sources, BlockNode source, OpenImage target, ConvertOptions options,
        CancellationToken cancellationToken)
    {
        if (target.Top.Length < source.Length)
        {
            throw ImageException.Invalid(
                $"'{options.Target}' has {target.Top.Length} bytes, too few for {source.Length} of the source");
        }

        if (options.Compress && target.TopLayer.Qcow2 is null)
        {
            throw ImageException.Invalid("Compression not supported for this file format");
        }

        var hasBacking = options.Create.BackingFile is { Length: > 0 };
        var isNew = !options.NoCreate && target.TopLayer.Path is not null;
        var cluster = target.TopLayer.Header?.ClusterSize ?? 0;
        await DiskCopy.RunAsync(
            source,
            target.Top,
            new DiskCopyOptions
            {
                Workers = WorkersOf(options),
                TargetIsZero = (isNew && !hasBacking) || options.TargetIsZero,
                SparseLength = options.SparseLength,
                ZeroUnit = target.TopLayer.Header is { HasExtendedL2: true }
                    ? cluster / SubclustersPerCluster
                    : cluster,
                Compress = options.Compress,
                Image = sources.Count == 1 ? sources[0] : null,
                OnlyTop = hasBacking,
                Report = options.Report,
            },
            cancellationToken).ConfigureAwait(false);
    }

    private static int WorkersOf(ConvertOptions options) => options.Workers > 0
        ? options.Workers
        : Math.Clamp(Environment.ProcessorCount, 2, ConvertOptions.MaximumWorkers);

    // What was just created is opened without its backing file: nothing of it is read.
    private static ValueTask<OpenImage> OpenTargetAsync(ConvertOptions options, CancellationToken cancellationToken) =>
        ImageOpener.OpenAsync(
            options.Target,
            new ImageOpenOptions
            {
                Format = options.Create.Format,
                Writable = true,
                FollowNames = options.NoCreate ? options.FollowNames : true,
                NodeName = "target",
                WithoutFlush = options.WithoutFlush,
                NbdConnections = Math.Min(ConvertOptions.MaximumConnections, WorkersOf(options)),
            },
            cancellationToken);

    private static void Check(IReadOnlyList<OpenImage> sources, ConvertOptions options)
    {
        if (sources.Count == 0)
        {
            throw ImageException.Invalid("there is no source image");
        }

        CheckPlaces(sources, options);
        var hasBacking = options.Create.BackingFile is { Length: > 0 };
        if (hasBacking && sources.Count > 1)
        {
            throw ImageException.Invalid(
                "Having a backing file for the target makes no sense when concatenating multiple input images");
        }

        if (options.Bitmaps && sources.Count > 1)
        {
            throw ImageException.Invalid("Copying bitmaps only possible with single source");
        }

        if (options.Bitmaps && sources[0].TopLayer.Qcow2 is null)
        {
            throw ImageException.Invalid("Format driver 'raw' does not support bitmaps: the source has none to copy");
        }

        if (options.Bitmaps && options.Create.Format != ImageFormat.Qcow2)
        {
            throw ImageException.Invalid($"Format driver '{options.Create.Format}' does not support bitmaps");
        }

        if (options.Compress && options.Create.Format != ImageFormat.Qcow2)
        {
            throw ImageException.Invalid("Compression not supported for this file format");
        }

        if (options.Compress && options.Create.Preallocation is not (null or "off"))
        {
            throw ImageException.Invalid("Compression and preallocation not supported at the same time");
        }

        if (options.TargetIsZero && !options.NoCreate)
        {
            throw ImageException.Invalid("--target-is-zero requires use of -n flag");
        }

        if (options.TargetIsZero && hasBacking)
        {
            throw ImageException.Invalid(
                "--target-is-zero contradicts -B: what the source has not allocated shows the backing file");
        }
    }

    // What is created is emptied first. Locks see to this too, but not where a source is shared by force.
    private static void CheckPlaces(IReadOnlyList<OpenImage> sources, ConvertOptions options)
    {
        if (ImageName.IsJson(options.Target) || ImageName.ReadPlace(options.Target) is not { Path: { } path } target)
        {
            return;
        }

        List<ImagePlace> written = [target];
        if (options is { NoCreate: false, Create.DataFile: { } data })
        {
            written.Add(ImageName.ReadPlace(ImageName.Resolve(options.Target, path, data)));
        }

        var read = sources.SelectMany(source => source.Layers)
            .SelectMany(layer => new[] { layer.Path, layer.DataFile is null ? null : layer.DataFileName })
            .OfType<string>()
            .Select(name => new ImagePlace(name, null, "").Identity)
            .ToHashSet(StringComparer.Ordinal);
        foreach (var place in written.Where(place => place.Path is not null && read.Contains(place.Identity)))
        {
            throw ImageException.Invalid(
                $"'{place.DisplayName}' cannot be the target: it is a source, or lies below one");
        }
    }
}
