using System.Runtime.CompilerServices;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Copy;

// A copy between two disks, as fast as their connections go.
//
// The idea. There are as many lanes as requests may be under way. A lane does one thing at a time: take the next piece,
// read it, write it, again. It holds one buffer at most: from an NBD source only once the piece's bytes come, so that
// few buffers are used again and again, out of a processor's cache, however many requests wait for the server. Lanes
// share nothing but the map that hands out pieces and the buffers. So the bytes in flight are bounded, nothing is
// allocated for a piece, and pieces need no order: each knows its offset.
//
// Which threads run. An NBD node made with inline completions goes on with a lane on the thread that received its
// reply, so a piece that was just received is scanned and sent on while it is in that processor's cache, and no other
// thread is woken. Files are read and written with blocking calls on the same threads.
//
// Guarantees. See CopyMap for why no byte is missed. The first failure stops all lanes and is thrown when the last one
// has stopped; then no request is under way and nobody touches the nodes any more.

/// <summary>Copies the bytes of one disk to another: what nbdcopy does.</summary>
public sealed class DiskCopy
{
    /// <summary>Zeroes are found in blocks of at least this length and alignment.</summary>
    internal const int ZeroBlock = 4096;

    private readonly BlockNode _source;
    private readonly BlockNode? _target;
    private readonly DiskCopyOptions _options;
    private readonly CancellationTokenSource _stop;
    private readonly CopyMap _map;
    private readonly CopyBuffers _buffers;
    private readonly NbdNode? _lateSource;
    private readonly int _zeroBlock;
    private long _read;
    private long _written;
    private long _zeroed;

    private DiskCopy(
        BlockNode source, BlockNode? target, DiskCopyOptions options, CancellationTokenSource stop)
    {
        _source = source;
        _target = target;
        _options = options;
        _stop = stop;
        var alignment = Math.Max(source.Limits.RequestAlignment, target?.Limits.RequestAlignment ?? 1);
        _zeroBlock = Math.Max(ZeroBlock, alignment);
        _buffers = new CopyBuffers(options.RequestSize);
        _lateSource = source is NbdNode nbd && nbd.CanReadLate(options.RequestSize) ? nbd : null;
        _map = new CopyMap(source, options, alignment, stop.Token);
    }

    /// <summary>Copies.</summary>
    /// <param name="source">The disk to read.</param>
    /// <param name="target">The disk to write, at least as large; null to read only. What lies behind the source's
    /// length stays as it is.</param>
    /// <param name="options">How.</param>
    /// <param name="progress">Told how many bytes of the source are done, now and then, on any thread; or null.</param>
    /// <param name="cancellationToken">Stops the copy: the target is then copied in part.</param>
    /// <returns>What was done. The target holds it; durable it is with <see cref="DiskCopyOptions.Flush"/>.</returns>
    /// <exception cref="BlockException">The target is too small or read-only, or reading or writing failed.</exception>
    public static async Task<DiskCopyReport> RunAsync(
        BlockNode source, BlockNode? target, DiskCopyOptions options, Action<long>? progress = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(options);
        Check(source, target, options);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var copy = new DiskCopy(source, target, options, stop);
        await copy.RunLanesAsync(progress).ConfigureAwait(false);
        if (options.Flush && target is not null)
        {
            await target.FlushAsync(cancellationToken).ConfigureAwait(false);
        }

        return new DiskCopyReport(source.Length, copy._map.Selected, copy._read, copy._written, copy._zeroed)
        {
            BuffersMade = copy._buffers.Made,
        };
    }

    private static void Check(BlockNode source, BlockNode? target, DiskCopyOptions options)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Requests, 1);
        if (!int.IsPow2(options.RequestSize) || options.RequestSize < ZeroBlock)
        {
            throw new ArgumentException(
                $"a request's size is a power of two, at least {ZeroBlock}, not {options.RequestSize}");
        }

        if (options.BitmapContext is { } context && (source as NbdNode)?.MetaContexts.Contains(context) != true)
        {
            throw new NbdException(
                BlockErrorKind.NotFound,
                $"the source does not offer the metadata context '{context}', so what is dirty is not known");
        }

        if (target is null)
        {
            return;
        }

        if (target.IsReadOnly)
        {
            throw new BlockException(BlockErrorKind.ReadOnly, $"cannot copy to {target}: it is read-only");
        }

        if (target.Length < source.Length)
        {
            throw new BlockException(
                BlockErrorKind.NoSpace,
                $"cannot copy: the target has {target.Length} bytes, the source {source.Length}");
        }

        var alignment = target.Limits.RequestAlignment;
        if (source.Length % alignment != 0 || options.RequestSize % alignment != 0)
        {
            throw new BlockException(
                BlockErrorKind.OutOfRange,
                $"cannot copy {source.Length} bytes in requests of {options.RequestSize}: the target takes multiples "
                + $"of {alignment}");
        }
    }

    private async Task RunLanesAsync(Action<long>? progress)
    {
        var laneCount = (int)Math.Clamp(
            _options.MaximumBytesInFlight / _options.RequestSize, 1, _options.Requests);

        // Nodes that answer at once (files) would otherwise run the first lane to the end before the second begins.
        var lanes = new Task[laneCount];
        for (var index = 0; index < lanes.Length; index++)
        {
            lanes[index] = Task.Run(() => RunLaneAsync(progress));
        }

        await Task.WhenAll(lanes).ConfigureAwait(false);
    }

    private async Task RunLaneAsync(Action<long>? progress)
    {
        var lane = new CopyLane(_buffers);
        try
        {
            while (true)
            {
                if (_map.TryTake(out var piece, out var wait))
                {
                    await CopyAsync(piece, lane).ConfigureAwait(false);
                    progress?.Invoke(piece.Offset + piece.Length);
                }
                else if (wait is not null)
                {
                    await wait.ConfigureAwait(false);
                }
                else
                {
                    break;
                }
            }
        }
        catch
        {
            await _stop.CancelAsync().ConfigureAwait(false);
            throw;
        }
    }

    private ValueTask CopyAsync(in CopyPiece piece, CopyLane lane)
    {
        _stop.Token.ThrowIfCancellationRequested();
        return piece.IsZero
            ? ZeroAsync(piece.Offset, piece.Length)
            : CopyDataAsync(piece, lane);
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private async ValueTask CopyDataAsync(CopyPiece piece, CopyLane lane)
    {
        await lane.ReadAsync(_source, _lateSource, piece, _stop.Token).ConfigureAwait(false);
        Interlocked.Add(ref _read, piece.Length);
        if (_target is not null && lane.IsZero && !_options.Allocated)
        {
            await ZeroAsync(piece.Offset, piece.Length).ConfigureAwait(false);
        }
        else if (_target is not null)
        {
            await WriteAsync(piece.Offset, lane.BytesOrZeroes((int)piece.Length)).ConfigureAwait(false);
        }

        // Not after a failure: a request that was given up may still be using the buffer.
        lane.Release();
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private async ValueTask WriteAsync(long offset, Memory<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            var length = RunLength(offset, buffer.Span, out var isZero);
            if (isZero && !_options.Allocated)
            {
                await ZeroAsync(offset, length).ConfigureAwait(false);
            }
            else
            {
                await _target!.WriteAsync(offset, buffer[..length], WriteFlags.None, _stop.Token).ConfigureAwait(false);
                Interlocked.Add(ref _written, length);
            }

            offset += length;
            buffer = buffer[length..];
        }
    }

    private ValueTask ZeroAsync(long offset, long length)
    {
        Interlocked.Add(ref _zeroed, length);
        if (_target is null || (_options.TargetIsZero && !_options.Allocated))
        {
            return default;
        }

        return _target.WriteZeroesAsync(
            offset, length, _options.Allocated ? WriteFlags.None : WriteFlags.MayUnmap, _stop.Token);
    }

    /// <summary>How far the first bytes go on as they begin: as data, or as whole aligned blocks of zeroes.</summary>
    /// <param name="offset">Where on the disk the bytes lie.</param>
    /// <param name="bytes">Not empty.</param>
    /// <param name="isZero">Whether they are zeroes.</param>
    private int RunLength(long offset, ReadOnlySpan<byte> bytes, out bool isZero)
    {
        isZero = false;
        if (_options.Allocated)
        {
            return bytes.Length;
        }

        // What lies before the first whole block, and behind the last one, counts as data.
        var head = (int)(-offset & (_zeroBlock - 1));
        if (head >= bytes.Length)
        {
            return bytes.Length;
        }

        isZero = head == 0 && StartsWithZeroBlock(bytes);
        return head + BlocksLength(bytes[head..], isZero);
    }

    private int BlocksLength(ReadOnlySpan<byte> bytes, bool isZero)
    {
        var length = 0;
        while (bytes.Length - length >= _zeroBlock && StartsWithZeroBlock(bytes[length..]) == isZero)
        {
            length += _zeroBlock;
        }

        return !isZero && bytes.Length - length < _zeroBlock ? bytes.Length : length;
    }

    private bool StartsWithZeroBlock(ReadOnlySpan<byte> bytes) =>
        bytes.Length >= _zeroBlock && !bytes[.._zeroBlock].ContainsAnyExcept((byte)0);
}
