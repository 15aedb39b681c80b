using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Files;
using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Format;
using Tidemark.Qcow2.Metadata;

namespace Tidemark.Qcow2;

// What a range holds, by the mapping; and, of clusters that were set aside before they were written, by the file below:
// such a cluster is data to the mapping and a hole of the file. The answers are QEMU's, extent by extent.
//
// Whether the file is asked at all is decided once, at the first question, as QEMU decides it: when clearly more
// clusters are counted than the file takes storage for. Asking too seldom costs a copy its time, never its content.
//
// Why no data can be said to be zero. (1) The file is asked anew for every answer; nothing of what it said is kept
// here. A write is complete when its bytes are in the file, where the kernel counts them as data from that moment on,
// whether they have reached the disk or not. So a status that begins after a write has completed sees it. (2) The
// question is asked of the place where the cluster really lies: the request has entered an epoch before it looked the
// mapping up, so the place is neither punched nor given to another cluster before the answer is here. (3) Reads past
// the file's end give zeroes (ImageFile), so what lies there is zero; a write there makes the file longer first.
public sealed partial class Qcow2Node
{
    // Set once; two that decide at the same time come to the same end.
    private volatile bool _hasDecidedOnHoles;
    private volatile bool _looksForHoles;

    /// <summary>Whether clusters were set aside in advance: those that are data by the mapping are holes of the file
    /// then, for a good part, and block status looks there. Decided at the first call.</summary>
    public ValueTask<bool> LooksForHolesAsync(CancellationToken cancellationToken = default) =>
        _hasDecidedOnHoles ? new ValueTask<bool>(_looksForHoles) : DecideOnHolesAsync(cancellationToken);

    /// <inheritdoc/>
    protected override async ValueTask GetBlockStatusCoreAsync(
        long offset, long length, ExtentList extents, CancellationToken cancellationToken)
    {
        var below = await LooksForHolesAsync(cancellationToken).ConfigureAwait(false) ? new ExtentList() : null;
        var end = offset + length;
        while (offset < end)
        {
            var ticket = _epochs.Enter();
            try
            {
                if (_metadata.TryMap(offset, end - offset, out var mapping))
                {
                    switch (mapping.Kind)
                    {
                        case ClusterKind.Unallocated:
                            await AppendBackingStatusAsync(offset, mapping.Length, extents, cancellationToken)
                                .ConfigureAwait(false);
                            break;
                        case ClusterKind.Data when below is not null:
                            below.Clear();
                            await AppendDataStatusAsync(offset, mapping, below, extents, cancellationToken)
                                .ConfigureAwait(false);
                            break;
                        default:
                            extents.Append(offset, mapping.Length, FlagsOf(mapping.Kind));
                            break;
                    }

                    offset += mapping.Length;
                    continue;
                }
            }
            finally
            {
                _epochs.Leave(ticket);
            }

            await _metadata.LoadAsync(offset, cancellationToken).ConfigureAwait(false);
        }
    }

    private async ValueTask<bool> DecideOnHolesAsync(CancellationToken cancellationToken)
    {
        // An external data file's clusters are not counted. What takes storage elsewhere does not say how much.
        var found = !_layout.HasDataFile && _file.Node is RawFileNode { AllocatedLength: { } allocated }
            && await CountsMoreThanAsync(allocated, cancellationToken).ConfigureAwait(false);
        _looksForHoles = found;
        _hasDecidedOnHoles = true;
        return found;
    }

    private async ValueTask<bool> CountsMoreThanAsync(long allocated, CancellationToken cancellationToken)
    {
        var stored = allocated >> _clusterBits;
        var threshold = Math.Max(stored * 10 / 9, stored + 2);
        var clusters = _file.EndOfClusters >> _clusterBits;
        if (clusters < threshold)
        {
            return false;
        }

        try
        {
            return await _metadata.HasCountedAsync(threshold, clusters, cancellationToken).ConfigureAwait(false);
        }
        catch (BlockException)
        {
            // Refcounts that cannot be read are no reason to refuse an answer: the mapping gives it.
            return false;
        }
    }

    // Zero, but not a hole: the cluster is there.
    private async ValueTask AppendDataStatusAsync(
        long offset, ClusterMapping mapping, ExtentList below, ExtentList extents, CancellationToken cancellationToken)
    {
        var place = mapping.HostOffset;
        var inside = Math.Clamp(_data.Length - place, 0, mapping.Length);
        if (inside > 0)
        {
            await _data.Node.GetBlockStatusAsync(place, inside, below, cancellationToken).ConfigureAwait(false);
        }

        foreach (var extent in below)
        {
            extents.Append(offset + extent.Offset - place, extent.Length, extent.Flags & ExtentFlags.Zero);
        }

        if (inside < mapping.Length)
        {
            extents.Append(offset + inside, mapping.Length - inside, ExtentFlags.Zero);
        }
    }

    private async ValueTask AppendBackingStatusAsync(
        long offset, long length, ExtentList extents, CancellationToken cancellationToken)
    {
        var inBacking = Backing is { } backing ? Math.Clamp(backing.Length - offset, 0, length) : 0;
        if (inBacking > 0)
        {
            if (!HasStack)
            {
                await ChangeStackAsync();
            }

            await Backing!.GetBlockStatusAsync(offset, inBacking, extents, cancellationToken).ConfigureAwait(false);
        }

        if (inBacking < length)
        {
            extents.Append(offset + inBacking, length - inBacking, ExtentFlags.Hole | ExtentFlags.Zero);
        }
    }

    // A zeroed cluster that keeps its storage is a hole to QEMU too: what it holds is no data.
    private static ExtentFlags FlagsOf(ClusterKind kind) => kind switch
    {
        ClusterKind.ZeroPlain or ClusterKind.ZeroAllocated => ExtentFlags.Hole | ExtentFlags.Zero,
        _ => ExtentFlags.None,
    };
}
