// Copies what a bitmap names, while the disk may be written: the bitmap records those writes.
//
// Why no write is lost. A step's granules are cleared in the bitmap before their bytes are read. A guest's write marks
// its granules after it has changed the disk and before it is reported complete. So for each write and each step on one
// granule: either the mark came before the clearing, then the change was on the disk before the read, which got it; or
// the mark comes after the clearing, then the granule is dirty again and a later step copies it. There is no third
// order. Two steps never have the same granule at one time (see _underWay), so an older step cannot write its bytes
// over those of a newer one. A step that failed marks its granules again.
//
// The last of it is copied while no request of the guest is under way (FinishAsync, in a drained section): after it the
// bitmap is empty and the two disks are the same, and nothing can be written until the section ends.

using System.Buffers;
using System.Runtime.ExceptionServices;
using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Graph;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Engine.Chains;

/// <summary>Copies the dirty granules of a bitmap, in steps, by a few workers.</summary>
internal sealed class DirtyCopy
{
    /// <summary>The longest step in bytes, unless a granule is longer.</summary>
    internal const int StepLength = 1 << 20;

    /// <summary>How many steps are under way at one time.</summary>
    internal const int Workers = 8;

    private readonly Lock _gate = new();
    private readonly BlockBackend _disk;
    private readonly DirtyBitmap _dirty;
    private readonly Step _step;

    // Guarded by _gate.
    private readonly List<Extent> _underWay = [];
    private long _cursor;
    private long _bytesDone;

    /// <summary>Prepares it.</summary>
    /// <param name="disk">The disk that is read: each step is one request of its root.</param>
    /// <param name="dirty">What is to be copied; cleared as it is.</param>
    /// <param name="step">Copies one range of the disk's node.</param>
    internal DirtyCopy(BlockBackend disk, DirtyBitmap dirty, Step step)
    {
        _disk = disk;
        _dirty = dirty;
        _step = step;
    }

    /// <summary>Copies a range of a disk's node with a worker's means.</summary>
    internal delegate ValueTask Step(
        BlockNode disk, Extent range, RangeCopy copy, CancellationToken cancellationToken);

    /// <summary>The bytes copied so far; some may have been copied more than once.</summary>
    internal long BytesDone => Interlocked.Read(ref _bytesDone);

    /// <summary>Those, and the ones that are dirty now.</summary>
    internal long BytesTotal => BytesDone + _dirty.DirtyBytes;

    /// <summary>Whether nothing is dirty.</summary>
    internal bool IsClean => _dirty.DirtyGranules == 0;

    /// <summary>The bytes that are dirty now.</summary>
    internal long DirtyBytes => _dirty.DirtyBytes;

    /// <summary>Copies what is dirty. What is written meanwhile may be dirty when it returns.</summary>
    /// <param name="beforeStep">Called before each step, outside of any request: whoever pauses the copy waits here.
    /// </param>
    /// <param name="afterStep">Called after each step with its length: whoever paces the copy waits here.</param>
    /// <param name="cancellationToken">Ends it after the steps under way.</param>
    internal Task RunAsync(
        Func<CancellationToken, ValueTask> beforeStep,
        Func<long, CancellationToken, ValueTask> afterStep,
        CancellationToken cancellationToken) =>
        RunAsync(Workers, beforeStep, afterStep, isDrained: false, cancellationToken);

    /// <summary>Copies all that is dirty. In a drained section.</summary>
    internal Task FinishAsync(CancellationToken cancellationToken) => RunAsync(
        Workers, static _ => default, static (_, _) => default, isDrained: true, cancellationToken);

    private async Task RunAsync(
        int count,
        Func<CancellationToken, ValueTask> beforeStep,
        Func<long, CancellationToken, ValueTask> afterStep,
        bool isDrained,
        CancellationToken cancellationToken)
    {
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        ExceptionDispatchInfo? first = null;
        var workers = new Task[count];
        for (var index = 0; index < count; index++)
        {
            workers[index] = Task.Run(async () =>
            {
                try
                {
                    await WorkAsync(beforeStep, afterStep, isDrained, ending.Token).ConfigureAwait(false);
                }
                catch (Exception exception)
                {
                    // The first error is the one that counts; it ends the other workers.
                    Interlocked.CompareExchange(ref first, ExceptionDispatchInfo.Capture(exception), null);
                    await ending.CancelAsync().ConfigureAwait(false);
                }
            }, CancellationToken.None);
        }

        await Task.WhenAll(workers).ConfigureAwait(false);
        cancellationToken.ThrowIfCancellationRequested();
        first?.Throw();
    }

    private async Task WorkAsync(
        Func<CancellationToken, ValueTask> beforeStep,
        Func<long, CancellationToken, ValueTask> afterStep,
        bool isDrained,
        CancellationToken cancellationToken)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(StepLength);
        try
        {
            RangeCopy copy = new(buffer);
            while (true)
            {
                cancellationToken.ThrowIfCancellationRequested();
                await beforeStep(cancellationToken).ConfigureAwait(false);
                if (!TryTake(out var step))
                {
                    return;
                }

                var isDone = false;
                try
                {
                    if (isDrained)
                    {
                        await _step(_disk.Node, step, copy, cancellationToken).ConfigureAwait(false);
                    }
                    else
                    {
                        await _disk.RunAsync(
                            (Step: _step, Range: step, Copy: copy),
                            static (node, s, token) => s.Step(node, s.Range, s.Copy, token),
                            cancellationToken).ConfigureAwait(false);
                    }

                    isDone = true;
                }
                finally
                {
                    End(step, isDone);
                }

                await afterStep(step.Length, cancellationToken).ConfigureAwait(false);
            }
        }
        finally
        {
            // Every request that lent the buffer has completed: each was awaited.
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    // The next dirty run at or after the cursor of which nothing is under way; it is clean in the bitmap from here on.
    private bool TryTake(out Extent step)
    {
        lock (_gate)
        {
            foreach (var (from, to) in (ReadOnlySpan<(long, long)>)[(_cursor, _dirty.Length), (0, _cursor)])
            {
                for (var offset = from;
                    offset < to && _dirty.TryNextDirty(offset, to - offset, out step, StepLength);
                    offset = step.End)
                {
                    if (!IsUnderWay(ref step))
                    {
                        _dirty.Reset(step.Offset, step.Length);
                        _underWay.Add(step);
                        _cursor = step.End < _dirty.Length ? step.End : 0;
                        return true;
                    }
                }
            }
        }

        step = default;
        return false;
    }

    // A run that begins under way is left for later; one that runs into another step is cut there.
    private bool IsUnderWay(ref Extent run)
    {
        foreach (var other in _underWay)
        {
            if (other.Offset <= run.Offset && run.Offset < other.End)
            {
                run = run with { Length = Math.Min(run.End, other.End) - run.Offset };
                return true;
            }

            if (run.Offset < other.Offset && other.Offset < run.End)
            {
                run = run with { Length = other.Offset - run.Offset };
            }
        }

        return false;
    }

    private void End(Extent step, bool isDone)
    {
        lock (_gate)
        {
            _underWay.Remove(step);
            if (isDone)
            {
                _bytesDone += step.Length;
            }
            else
            {
                _dirty.Set(step.Offset, step.Length);
            }
        }
    }
}
