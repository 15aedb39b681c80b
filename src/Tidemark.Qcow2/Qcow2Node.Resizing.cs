using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Format;
using Tidemark.Qcow2.Metadata;

namespace Tidemark.Qcow2;

// Setting clusters aside in advance, and changing the disk's size.
public sealed partial class Qcow2Node
{
    /// <summary>Changes the disk's size, with its dirty bitmaps, as QEMU does it: new bytes read as zeroes, also where
    /// a longer backing file would show, and are clean in every bitmap. Only inside a drained section.</summary>
    /// <param name="length">The new size, in whole sectors.</param>
    /// <param name="preallocation">What of a larger disk's new part is allocated in advance.</param>
    /// <param name="cancellationToken">Stops it; the disk then has its old size.</param>
    /// <exception cref="BlockException">The image cannot be so large, has snapshots that forbid it, or a bitmap is
    /// inconsistent or in use.</exception>
    public async ValueTask ResizeDiskAsync(
        long length, Qcow2Preallocation preallocation = Qcow2Preallocation.Off,
        CancellationToken cancellationToken = default)
    {
        const int SectorSize = 512;
        CheckMayChange("resize");
        if (length < 0 || length % SectorSize != 0 || length > Qcow2Limits.MaximumCreateLength)
        {
            throw Invalid(
                $"cannot resize node '{Name}' to {length} bytes: the size must be a multiple of {SectorSize}, up to "
                + $" {Qcow2Limits.MaximumCreateLength}");
        }

        if (Header is { SnapshotCount: > 0, Version: < 3 })
        {
            throw Qcow2Exception.NotSupported(
                $"cannot resize node '{Name}': its image is of version 2 and has snapshots");
        }

        if (Bitmaps.FirstOrDefault(bitmap => bitmap.IsInconsistent || bitmap.IsBusy || bitmap.Name is null) is { } bad)
        {
            throw new BlockException(
                BlockErrorKind.Busy,
                $"cannot resize node '{Name}': bitmap '{bad.Name}' is "
                + (bad.IsInconsistent ? "inconsistent" : "in use"));
        }

        if (length > Length)
        {
            await GrowAsync(length, preallocation, cancellationToken).ConfigureAwait(false);
        }
        else if (length < Length)
        {
            await ShrinkAsync(length, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    protected override ValueTask ResizeCoreAsync(long length, CancellationToken cancellationToken) =>
        ResizeDiskAsync(length, Qcow2Preallocation.Off, cancellationToken);

    private async ValueTask GrowAsync(
        long length, Qcow2Preallocation preallocation, CancellationToken cancellationToken)
    {
        var before = Length;
        await _metadata.GrowL1Async(length, cancellationToken).ConfigureAwait(false);
        var unit = 1L << _layout.UnitBits;
        var tailEnd = Math.Min(length, (before + unit - 1) & -unit);
        await WriteZeroBytesAsync(before, tailEnd - before, cancellationToken).ConfigureAwait(false);
        var clusterEnd = (tailEnd + ClusterSize - 1) & -ClusterSize;
        if (clusterEnd > tailEnd && _layout.IsExtended)
        {
            // Subclusters behind the old end may hold what lay there before the disk was made smaller.
            await ZeroPartAsync(tailEnd, clusterEnd, cancellationToken).ConfigureAwait(false);
        }

        if (Header.IsDataFileRaw)
        {
            await GrowRawDataFileAsync(before, length, cancellationToken).ConfigureAwait(false);
            preallocation = preallocation == Qcow2Preallocation.Off ? Qcow2Preallocation.Metadata : preallocation;
        }

        if (Backing is { } backing && backing.Length > tailEnd)
        {
            await HideBackingAsync(tailEnd, Math.Min(length, backing.Length), cancellationToken).ConfigureAwait(false);
        }

        if (preallocation != Qcow2Preallocation.Off)
        {
            await PreallocateAsync(tailEnd, length, preallocation, cancellationToken).ConfigureAwait(false);
        }

        await SetLengthAsync(length, cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask HideBackingAsync(long start, long end, CancellationToken cancellationToken)
    {
        if (_layout.HasZeroFlag)
        {
            var whole = (end + ClusterSize - 1) & -ClusterSize;
            await ZeroPartsAsync(start, whole, cancellationToken).ConfigureAwait(false);
            return;
        }

        await WriteZeroBytesAsync(start, end - start, cancellationToken).ConfigureAwait(false);
    }

    // The first cluster may be whole only from one of its subclusters on.
    private async ValueTask ZeroPartsAsync(long start, long end, CancellationToken cancellationToken)
    {
        var whole = Math.Min(end, (start + ClusterSize - 1) & -ClusterSize);
        if (whole > start)
        {
            await ZeroPartAsync(start, whole, cancellationToken).ConfigureAwait(false);
        }

        if (end > whole)
        {
            await ZeroClustersAsync(whole, end, ZeroMode.Free, cancellationToken).ConfigureAwait(false);
        }
    }

    private async ValueTask GrowRawDataFileAsync(long before, long length, CancellationToken cancellationToken)
    {
        var stale = Math.Min(length, _data.Length) - before;
        if (stale > 0)
        {
            await _data.Node.WriteZeroesAsync(before, stale, WriteFlags.MayUnmap, cancellationToken)
                .ConfigureAwait(false);
        }

        await _data.EnsureLengthAsync(length, cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask ShrinkAsync(long length, CancellationToken cancellationToken)
    {
        await _metadata.CutAsync((length + ClusterSize - 1) & -ClusterSize, cancellationToken).ConfigureAwait(false);
        await SetLengthAsync(length, cancellationToken).ConfigureAwait(false);
        if (Header.IsDataFileRaw)
        {
            await _data.Node.ResizeAsync(length, cancellationToken).ConfigureAwait(false);
        }
    }

    private async ValueTask SetLengthAsync(long length, CancellationToken cancellationToken)
    {
        await _metadata.WriteBackAsync(cancellationToken).ConfigureAwait(false);
        await _metadata.UpdateHeaderAsync(header => header with { Length = length }, cancellationToken)
            .ConfigureAwait(false);
        Volatile.Write(ref _length, length);
        foreach (var bitmap in Bitmaps.ToList())
        {
            var resized = bitmap.Resized(length);
            Bitmaps.Remove(bitmap);
            Bitmaps.Add(resized);
            _bitmapStore.Replace(bitmap, resized);
        }
    }

    private void CheckMayChange(string what)
    {
        if (IsReadOnly)
        {
            throw new BlockException(BlockErrorKind.ReadOnly, $"cannot {what} node '{Name}': it is read-only");
        }
    }

    /// <summary>Allocates what of a range is not allocated yet; it reads as before.</summary>
    internal async ValueTask PreallocateAsync(
        long offset, long end, Qcow2Preallocation preallocation, CancellationToken cancellationToken)
    {
        while (offset < end)
        {
            if (!_metadata.TryMap(offset, end - offset, out var mapping))
            {
                await _metadata.LoadAsync(offset, cancellationToken).ConfigureAwait(false);
                continue;
            }

            offset = mapping.Kind is ClusterKind.Unallocated or ClusterKind.ZeroPlain
                ? await PreallocateRunAsync(offset, mapping.Length, preallocation, cancellationToken)
                    .ConfigureAwait(false)
                : offset + mapping.Length;
        }
    }

    // Returns where the run ends.
    private async ValueTask<long> PreallocateRunAsync(
        long offset, long length, Qcow2Preallocation preallocation, CancellationToken cancellationToken)
    {
        var held = await _locks.AcquireAsync(
            offset >> _clusterBits, (offset + length - 1) >> _clusterBits, cancellationToken).ConfigureAwait(false);
        try
        {
            var run = await _metadata.AllocateAsync(offset, length, cancellationToken).ConfigureAwait(false);
            var runStart = run.GuestCluster << _clusterBits;
            var runEnd = Math.Min(offset + length, (run.GuestCluster + run.Count) << _clusterBits);
            if (run.IsReused)
            {
                return Math.Min(runEnd, run.Limit);
            }

            try
            {
                await PrepareHostAsync(run.HostOffset, runEnd - runStart, run.IsFresh, preallocation, cancellationToken)
                    .ConfigureAwait(false);
                await _metadata.LinkAsync(run, 0, 0).ConfigureAwait(false);
            }
            catch
            {
                await _metadata.AbandonAsync(run).ConfigureAwait(false);
                throw;
            }

            return runEnd;
        }
        finally
        {
            _locks.Release(held);
        }
    }

    // What is linked must read as zeroes: where the file may hold something else, that is zeroed.
    private async ValueTask PrepareHostAsync(
        long hostOffset, long length, bool isFresh, Qcow2Preallocation preallocation,
        CancellationToken cancellationToken)
    {
        if (_layout.HasDataFile)
        {
            await _data.EnsureLengthAsync(hostOffset + length, cancellationToken).ConfigureAwait(false);
        }

        if (preallocation == Qcow2Preallocation.Full)
        {
            for (long done = 0; done < length;)
            {
                var part = (int)Math.Min(s_zeroes.Length, length - done);
                await _data.WriteAsync(hostOffset + done, s_zeroes.AsMemory(0, part), cancellationToken)
                    .ConfigureAwait(false);
                done += part;
            }
        }
        else if (!isFresh || preallocation == Qcow2Preallocation.Falloc)
        {
            // Without MayUnmap: a range of the file that is zeroed so has its space.
            var flags = preallocation == Qcow2Preallocation.Falloc ? WriteFlags.None : WriteFlags.MayUnmap;
            await _data.Node.WriteZeroesAsync(hostOffset, length, flags, cancellationToken).ConfigureAwait(false);
        }
    }
}
