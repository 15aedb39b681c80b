using System.Runtime.CompilerServices;
using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Filters;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Blocks.Copy;

// One step: what of it is zero, what is data, and the transfer of each.
public sealed partial class BlockCopy
{
    /// <summary>
    /// Who must not read a range of the target while it is being written, if the target is read as a snapshot.
    /// </summary>
    internal FleecingGuard? Guard { get; set; }

    private void Begin(BlockCopyStep step, bool detached) =>
        _ = RunAsync(step, detached && !_options.InlineContinuations);

    private async Task RunAsync(BlockCopyStep step, bool detached)
    {
        if (detached)
        {
            await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
        }

        Exception? error = null;
        try
        {
            await TransferAsync(step, _stopping.Token).ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            error = exception;
        }

        Finish(step, error);
    }

    private void Finish(BlockCopyStep step, Exception? error)
    {
        TaskCompletionSource? idle = null;
        lock (_gate)
        {
            _steps.Remove(step);
            if (_failure is not null)
            {
                error = _failure;
            }

            if (error is null)
            {
                _done.Set(step.Offset, step.Length);
                Interlocked.Add(ref _bytesDone, step.Length);
            }
            else
            {
                PutBack(step);
            }

            if (--_inputOutputs == 0)
            {
                idle = _idle;
            }
        }

        step.Complete(error);
        idle?.TrySetResult();
    }

    // Under _gate. What was forgotten in the meantime does not come back.
    private void PutBack(BlockCopyStep step)
    {
        var offset = step.Offset;
        var end = step.Offset + step.Length;
        while (offset < end && _wanted.TryNextDirty(offset, end - offset, out var run))
        {
            _remaining.Set(run.Offset, run.Length);
            offset = run.End;
            _cursor = Math.Min(_cursor, run.Offset);
        }
    }

    private async ValueTask TransferAsync(BlockCopyStep step, CancellationToken cancellationToken)
    {
        step.IsReading = true;
        await _source.Node.GetBlockStatusAsync(step.Offset, step.Length, step.Extents, cancellationToken)
            .ConfigureAwait(false);
        var end = step.Offset + step.Length;
        var offset = step.Offset;
        var zeroes = 0;
        while (offset < end)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var length = NextRun(step.Extents, ref zeroes, offset, end, out var isZero);
            if (isZero)
            {
                await WriteZeroesAsync(step, offset, length, cancellationToken).ConfigureAwait(false);
            }
            else
            {
                length = Math.Min(length, _transferLength);
                await CopyDataAsync(step, offset, (int)length, cancellationToken).ConfigureAwait(false);
            }

            offset += length;
        }
    }

    // How long the clusters from `offset` on are alike: wholly zero, or not. A cluster that is only partly zero is
    // data: the target gets whole clusters, and never has to fill one up from its own backing chain.
    private long NextRun(ExtentList extents, ref int index, long offset, long end, out bool isZero)
    {
        var run = offset;
        isZero = false;
        while (run < end)
        {
            var clusterEnd = Math.Min(end, run + ClusterSize);
            var zero = IsZero(extents, ref index, run, clusterEnd);
            if (run == offset)
            {
                isZero = zero;
            }
            else if (zero != isZero)
            {
                break;
            }

            run = clusterEnd;
        }

        return run - offset;
    }

    // Extents are in order, so the search goes on from where the last one ended.
    private static bool IsZero(ExtentList extents, ref int index, long from, long to)
    {
        while (index > 0 && extents[index].Offset > from)
        {
            index--;
        }

        while (extents[index].End <= from)
        {
            index++;
        }

        for (var at = index; ; at++)
        {
            if (!extents[at].IsZero)
            {
                return false;
            }

            if (extents[at].End >= to)
            {
                return true;
            }
        }
    }

    private async ValueTask CopyDataAsync(
        BlockCopyStep step, long offset, int length, CancellationToken cancellationToken)
    {
        using var buffer = await _buffers.RentAsync(length, cancellationToken).ConfigureAwait(false);
        step.IsReading = true;
        await _source.Node.ReadAsync(offset, buffer.Memory, cancellationToken).ConfigureAwait(false);
        step.IsReading = false;
        var written = 0;
        while (written < length)
        {
            var part = length - written;
            var isZero = false;
            if (_options.DetectZeroes)
            {
                part = NextContentRun(buffer.Memory.Span[written..], out isZero);
            }

            if (isZero)
            {
                await WriteZeroesAsync(step, offset + written, part, cancellationToken).ConfigureAwait(false);
            }
            else
            {
                var data = buffer.Memory.Slice(written, part);
                using var hold = await HoldTargetAsync(offset + written, part, cancellationToken).ConfigureAwait(false);
                await _target.Node.WriteAsync(offset + written, data, WriteFlags.None, cancellationToken)
                    .ConfigureAwait(false);
            }

            written += part;
        }
    }

    private int NextContentRun(ReadOnlySpan<byte> data, out bool isZero)
    {
        var length = Math.Min(ClusterSize, data.Length);
        isZero = !data[..length].ContainsAnyExcept((byte)0);
        while (length < data.Length)
        {
            var next = data.Slice(length, Math.Min(ClusterSize, data.Length - length));
            if (!next.ContainsAnyExcept((byte)0) != isZero)
            {
                break;
            }

            length += next.Length;
        }

        return length;
    }

    private async ValueTask WriteZeroesAsync(
        BlockCopyStep step, long offset, long length, CancellationToken cancellationToken)
    {
        step.IsReading = false;
        using var hold = await HoldTargetAsync(offset, length, cancellationToken).ConfigureAwait(false);
        await _target.Node.WriteZeroesAsync(offset, length, WriteFlags.MayUnmap, cancellationToken)
            .ConfigureAwait(false);
    }

    // A `using` of null does nothing: the common case, a target that nobody reads as a snapshot, costs no wait.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private ValueTask<RangeLock.Entry?> HoldTargetAsync(
        long offset, long length, CancellationToken cancellationToken) =>
        Guard is { } guard ? guard.HoldForWriteAsync(offset, length, cancellationToken) : default;
}
