using Tidemark.Blocks.Extents;
using Tidemark.Images.Opening;
using Tidemark.Qcow2;
using Tidemark.Qcow2.Format;

namespace Tidemark.Images.Mapping;

/// <summary>
/// What each image of a chain holds of a disk. A run that an image has not allocated is asked of the image below, for
/// as long as that reaches; the bottom answers for what nobody has.
/// </summary>
/// <remarks>Memory: one batch of runs for each image that is being asked. Not thread-safe.</remarks>
public sealed class ImageMap
{
    private const int BatchSize = 4096;
    private const int LargestCluster = 2 << 20;
    private const long SmallestWindow = 8L << 20;
    private const long LargestWindow = 1L << 30;

    private readonly OpenImage _image;
    private readonly bool[] _looksBelowData;
    private readonly FileHoles?[] _holes;
    private readonly bool[] _askedForHoles;
    private readonly ExtentList _below = new();

    /// <summary>Creates the map of an open image.</summary>
    public ImageMap(OpenImage image)
    {
        _image = image;
        _looksBelowData = new bool[image.Layers.Count];
        _holes = new FileHoles?[image.Layers.Count];
        _askedForHoles = new bool[image.Layers.Count];
    }

    /// <summary>How much of the disk is best asked for at once, so that the entries stay a few thousand, or a few
    /// megabytes at worst.</summary>
    public long WindowLength => Math.Clamp(
        BatchSize * 4L * _image.Layers.Min(layer => layer.Header?.ClusterSize ?? LargestCluster),
        SmallestWindow,
        LargestWindow);

    /// <summary>Appends the entries of a range, in order; neighbours that say the same become one.</summary>
    public ValueTask AppendAsync(
        long offset, long length, List<MapEntry> entries, CancellationToken cancellationToken = default) =>
        AppendLayerAsync(0, offset, length, entries, cancellationToken);

    private ValueTask AppendLayerAsync(
        int depth, long offset, long length, List<MapEntry> entries, CancellationToken cancellationToken) =>
        _image.Layers[depth].Qcow2 is { } node
            ? AppendQcow2Async(node, depth, offset, length, entries, cancellationToken)
            : AppendRawAsync(depth, offset, length, entries, cancellationToken);

    private async ValueTask AppendQcow2Async(
        Qcow2Node node, int depth, long offset, long length, List<MapEntry> entries,
        CancellationToken cancellationToken)
    {
        List<MappedExtent> batch = [];
        if (!_askedForHoles[depth])
        {
            _looksBelowData[depth] = await node.LooksForHolesAsync(cancellationToken).ConfigureAwait(false);
            _holes[depth] = _looksBelowData[depth]
                ? await FileHoles.ReadAsync(_image.Layers[depth].File, cancellationToken).ConfigureAwait(false)
                : null;
            _askedForHoles[depth] = true;
        }

        while (length > 0)
        {
            batch.Clear();
            var count = await node.MapAsync(offset, length, batch, BatchSize, cancellationToken)
                .ConfigureAwait(false);
            foreach (var extent in batch)
            {
                if (extent.Kind == ClusterKind.Unallocated)
                {
                    await AppendBelowAsync(depth, extent, entries, cancellationToken).ConfigureAwait(false);
                }
                else if (extent.Kind == ClusterKind.Data && _looksBelowData[depth])
                {
                    await AppendPreallocatedAsync(depth, extent, entries, cancellationToken).ConfigureAwait(false);
                }
                else
                {
                    Append(entries, new MapEntry(
                        extent.Offset, extent.Length, depth, FlagsOf(extent.Kind), extent.HostOffset));
                }
            }

            offset += count;
            length -= count;
        }
    }

    private async ValueTask AppendBelowAsync(
        int depth, MappedExtent extent, List<MapEntry> entries, CancellationToken cancellationToken)
    {
        var (offset, length) = (extent.Offset, extent.Length);
        var below = depth + 1;
        var inside = below < _image.Layers.Count
            ? Math.Clamp(_image.Layers[below].Node.Length - offset, 0, length)
            : 0;
        if (inside > 0)
        {
            await AppendLayerAsync(below, offset, inside, entries, cancellationToken).ConfigureAwait(false);
        }

        if (inside < length)
        {
            // A subcluster that nobody has, in a cluster that is there: its place is shown, and never read.
            var flags = extent.HasHost ? MapFlags.Zero | MapFlags.Offset : MapFlags.Zero;
            Append(entries, new MapEntry(offset + inside, length - inside, depth, flags,
                extent.HasHost ? extent.HostOffset + inside : 0));
        }
    }

    // Clusters that were set aside in advance: where the file has a hole they are zero, though they are data. There can
    // be millions of such runs: what is remembered of the file, or the file itself, answers at once, without a task.
    private ValueTask AppendPreallocatedAsync(
        int depth, MappedExtent extent, List<MapEntry> entries, CancellationToken cancellationToken)
    {
        var file = _image.Layers[depth].File;
        var inside = Math.Clamp(file.Length - extent.HostOffset, 0, extent.Length);
        _below.Clear();
        if (_holes[depth] is { } holes)
        {
            holes.Append(extent.HostOffset, inside, _below);
            AppendParts(depth, extent, inside, entries);
            return default;
        }

        var pending = file.GetBlockStatusAsync(extent.HostOffset, inside, _below, cancellationToken);
        if (!pending.IsCompletedSuccessfully)
        {
            return FinishAsync();
        }

        AppendParts(depth, extent, inside, entries);
        return default;

        async ValueTask FinishAsync()
        {
            await pending.ConfigureAwait(false);
            AppendParts(depth, extent, inside, entries);
        }
    }

    private void AppendParts(int depth, MappedExtent extent, long inside, List<MapEntry> entries)
    {
        if (inside < extent.Length)
        {
            _below.Append(extent.HostOffset + inside, extent.Length - inside, ExtentFlags.Hole | ExtentFlags.Zero);
        }

        for (var index = 0; index < _below.Count; index++)
        {
            var part = _below[index];
            var flags = FlagsOf(ClusterKind.Data) | (part.IsZero ? MapFlags.Zero : MapFlags.None);
            var start = extent.Offset + (part.Offset - extent.HostOffset);
            Append(entries, new MapEntry(start, part.Length, depth, flags, part.Offset));
        }
    }

    private async ValueTask AppendRawAsync(
        int depth, long offset, long length, List<MapEntry> entries, CancellationToken cancellationToken)
    {
        ExtentList extents = new();
        var layer = _image.Layers[depth];
        await layer.Node.GetBlockStatusAsync(offset, length, extents, cancellationToken).ConfigureAwait(false);
        foreach (var extent in extents)
        {
            var flags = (extent.IsHole ? MapFlags.None : MapFlags.Data)
                | (extent.IsZero ? MapFlags.Zero : MapFlags.None);
            if (flags != MapFlags.None)
            {
                flags |= MapFlags.Present | MapFlags.Offset;
            }

            Append(entries, new MapEntry(extent.Offset, extent.Length, depth, flags, layer.RawOffset + extent.Offset));
        }
    }

    private static MapFlags FlagsOf(ClusterKind kind) => kind switch
    {
        ClusterKind.ZeroPlain => MapFlags.Present | MapFlags.Zero,
        ClusterKind.ZeroAllocated => MapFlags.Present | MapFlags.Zero | MapFlags.Offset,
        ClusterKind.Compressed => MapFlags.Present | MapFlags.Data | MapFlags.Compressed,
        _ => MapFlags.Present | MapFlags.Data | MapFlags.Offset,
    };

    private static void Append(List<MapEntry> entries, MapEntry entry)
    {
        if (entries.Count > 0 && entries[^1].IsContinuedBy(entry))
        {
            entries[^1] = entries[^1] with { Length = entries[^1].Length + entry.Length };
        }
        else
        {
            entries.Add(entry);
        }
    }
}
