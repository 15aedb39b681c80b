// The one engine that copies clusters from a source to a target: for the copy-before-write filter, for the push job,
// for restore and convert (QEMU's block/block-copy.c has this role there).
//
// State, all of it guarded by _gate:
//
//   remaining   clusters that nobody has copied and nobody is copying
//   steps       runs of clusters that are being copied now
//   done        clusters that are on the target
//   wanted      clusters that were asked for and not forgotten since
//
// A cluster that is wanted is in exactly one of the first three. A step takes its clusters out of `remaining` when it
// is made and puts them into `done`, or back into `remaining` if it failed, when it ends: so no cluster is ever copied
// twice at one time, and none can be lost. Whoever needs a range copied looks for remaining clusters in it, copies
// those, waits for the steps of others that overlap, and looks again, until the range has neither. That is the reason
// why a guest's write cannot overtake the copying of what it overwrites.
//
// A step that copies for a guest's write does not belong to that write: the write may be cancelled or time out, and
// the step goes on. It ends by itself, and Dispose waits for it.
//
// Stop gives up for good, with an error. From that moment, in one and the same lock, nothing becomes `done` any more:
// the guest's writes no longer wait, so what a step still reads from the source may be newer than the point in time.

using System.Numerics;
using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Buffers;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Blocks.Copy;

/// <summary>
/// Copies the dirty clusters of a bitmap from a source node to a target node, each once, with bounded work.
/// </summary>
/// <remarks>Thread-safe. The caller keeps the source from changing under a step: the copy-before-write filter holds
/// back the writes that overlap one; otherwise nobody may write to the source.</remarks>
public sealed partial class BlockCopy : IAsyncDisposable
{
    /// <summary>The smallest cluster unless told otherwise: 64 KiB.</summary>
    public const int DefaultClusterSize = 64 << 10;

    /// <summary>The largest cluster: a target that prefers more is written in clusters of 16 MiB.</summary>
    public const int MaximumClusterSize = 16 << 20;

    /// <summary>The longest step in bytes, unless one cluster is longer: 1 MiB.</summary>
    public const int MaximumStep = 1 << 20;

    // Fixed.
    private readonly BlockChild _source;
    private readonly BlockChild _target;
    private readonly BlockCopyOptions _options;
    private readonly BufferPool _buffers;
    private readonly CancellationTokenSource _stopping = new();
    private readonly TaskCompletionSource _stopped = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly long _stepLength;
    private readonly int _transferLength;
    private readonly bool _ownsEdges;

    // Guarded by _gate.
    private readonly Lock _gate = new();
    private readonly DirtyBitmap _remaining;
    private readonly DirtyBitmap _done;
    private readonly DirtyBitmap _wanted;
    private readonly List<BlockCopyStep> _steps = [];
    private long _cursor;
    private int _inputOutputs;
    private TaskCompletionSource? _idle;
    private volatile BlockException? _failure;
    private long _bytesDone;

    /// <summary>Prepares a copy between the nodes of two edges, which stay the caller's.</summary>
    /// <exception cref="BlockException">The target is shorter than the source.</exception>
    public BlockCopy(BlockChild source, BlockChild target, BlockCopyOptions options)
        : this(source, target, options, ownsEdges: false)
    {
    }

    private BlockCopy(BlockChild source, BlockChild target, BlockCopyOptions options, bool ownsEdges)
    {
        _source = source;
        _target = target;
        _options = options;
        _ownsEdges = ownsEdges;
        Length = source.Node.Length;
        if (target.Node.Length < Length)
        {
            throw new BlockException(
                BlockErrorKind.Invalid,
                $"node '{target.Node.Name}' has {target.Node.Length} bytes, "
                + $"too few for the {Length} of '{source.Node.Name}'");
        }

        ClusterSize = ClusterSizeFor(target.Node, options.MinimumClusterSize);
        _stepLength = Math.Max(MaximumStep, ClusterSize);
        _transferLength = (int)Math.Min(
            _stepLength, Math.Min(source.Node.Limits.MaximumTransfer, target.Node.Limits.MaximumTransfer));
        _buffers = new BufferPool(
            Math.Max(options.MaximumBytesInFlight, _transferLength), options.InlineContinuations);
        _remaining = new DirtyBitmap(null, Length, ClusterSize);
        _wanted = new DirtyBitmap(null, Length, ClusterSize);
        _done = new DirtyBitmap(null, Length, ClusterSize);
        Select(options.Bitmap);
        BytesTotal = CountBytes(_remaining);
    }

    /// <summary>Prepares a copy between two nodes, which are in use by it until it is disposed.</summary>
    /// <param name="source">What is read.</param>
    /// <param name="target">What is written; at least as long.</param>
    /// <param name="description">Who copies, for messages: <c>job 'j0'</c>.</param>
    /// <param name="options">What to copy and how.</param>
    public static BlockCopy Between(
        BlockNode source, BlockNode target, string description, BlockCopyOptions? options = null)
    {
        var from = new BlockChild(null, ChildRole.Root, source, description);
        var to = new BlockChild(null, ChildRole.Target, target, description);
        try
        {
            return new BlockCopy(from, to, options ?? new BlockCopyOptions(), ownsEdges: true);
        }
        catch
        {
            from.Dispose();
            to.Dispose();
            throw;
        }
    }

    /// <summary>The length of the disk in bytes.</summary>
    public long Length { get; }

    /// <summary>The unit of copying in bytes: a power of two.</summary>
    public int ClusterSize { get; }

    /// <summary>How many bytes were to be copied at the beginning, in whole clusters.</summary>
    public long BytesTotal { get; private set; }

    /// <summary>How many bytes are on the target.</summary>
    public long BytesDone => Interlocked.Read(ref _bytesDone);

    /// <summary>How many bytes nobody has begun to copy.</summary>
    public long BytesRemaining
    {
        get
        {
            lock (_gate)
            {
                return CountBytes(_remaining);
            }
        }
    }

    /// <summary>Why the copy was stopped, or null while it goes on.</summary>
    public BlockException? Failure => _failure;

    /// <summary>Completes when the copy was stopped for good; <see cref="Failure"/> says why.</summary>
    public Task Stopped => _stopped.Task;

    /// <summary>
    /// The clusters that are not on the target, as a bitmap of their own at the copy's granularity: what is left when
    /// a run has failed. Forgotten clusters are not among them.
    /// </summary>
    public DirtyBitmap GetRemaining()
    {
        var left = new DirtyBitmap(null, Length, ClusterSize);
        lock (_gate)
        {
            left.Merge(_remaining);
            foreach (var step in _steps)
            {
                left.Set(step.Offset, step.Length);
            }
        }

        return left;
    }

    /// <summary>
    /// Ends the copying for good. Nothing more becomes part of the copy; whoever waits fails with this error at once;
    /// I/O under way is asked to end, and <see cref="DisposeAsync"/> waits for it.
    /// </summary>
    /// <returns>False when it had been stopped before; the first error stays.</returns>
    public bool Stop(BlockException failure)
    {
        BlockCopyStep[] steps;
        lock (_gate)
        {
            if (_failure is not null)
            {
                return false;
            }

            _failure = failure;
            steps = [.. _steps];
        }

        foreach (var step in steps)
        {
            step.Complete(failure);
        }

        CancelInputOutput();
        _stopped.TrySetResult();
        return true;
    }

    /// <summary>
    /// Gives up clusters that nobody wants any more: the whole clusters of the range are not copied. One that is being
    /// copied is waited for.
    /// </summary>
    internal async ValueTask ForgetAsync(long offset, long length, CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            _wanted.Reset(offset, length);
            _remaining.Reset(offset, length);
        }

        while (FindStep(offset, length) is { } step)
        {
            // A stopped copy ends the waits for its steps before the steps themselves.
            ThrowIfStopped();
            await step.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Whether the range needs no waiting: nothing of it is left to copy or being copied.</summary>
    internal bool IsSettled(long offset, long length)
    {
        lock (_gate)
        {
            return !_remaining.TryNextDirty(offset, length, out _, 1) && FindStep(offset, length) is null;
        }
    }

    /// <summary>Whether every byte of the range is on the target.</summary>
    internal bool IsDone(long offset, long length) => DoneRun(offset, length, out var isDone) == length && isDone;

    /// <summary>How many bytes from <paramref name="offset"/> on are alike: all on the target, or none.</summary>
    internal long DoneRun(long offset, long length, out bool isDone)
    {
        isDone = false;
        if (!_done.TryNextDirty(offset, length, out var run))
        {
            return length;
        }

        isDone = run.Offset == offset;
        return isDone ? run.Length : run.Offset - offset;
    }

    /// <summary>
    /// Sees to it that every wanted cluster of the range is on the target when this ends: copies what nobody has begun,
    /// waits for what others are copying. The range is made of whole clusters.
    /// </summary>
    /// <param name="offset">Where the range begins.</param>
    /// <param name="length">How long it is.</param>
    /// <param name="detached">Whether the steps run on another thread, so that the wait can be cut off even when a node
    /// blocks the thread it is called on.</param>
    /// <param name="cancellationToken">Ends the wait; steps that were begun go on.</param>
    /// <exception cref="BlockException">The source or the target failed, or the copy was stopped.</exception>
    internal async ValueTask EnsureCopiedAsync(
        long offset, long length, bool detached, CancellationToken cancellationToken)
    {
        while (true)
        {
            BlockCopyStep? step;
            bool isMine;
            lock (_gate)
            {
                ThrowIfStopped();
                step = TakeStep(offset, length);
                isMine = step is not null;
                step ??= FindStep(offset, length);
            }

            if (step is null)
            {
                return;
            }

            if (isMine)
            {
                Begin(step, detached);
            }

            var error = await step.WaitAsync(cancellationToken).ConfigureAwait(false);

            // Another's failure is not mine: its clusters are to be copied again, and the next turn tries.
            if (error is not null && (isMine || _failure is not null))
            {
                throw AsBlockException(error);
            }
        }
    }

    /// <summary>Waits until the last I/O has ended; buffers are free then. Stops a copy that still goes on.</summary>
    public async ValueTask DisposeAsync()
    {
        Stop(new BlockException(BlockErrorKind.SnapshotBroken, $"the copy of node '{_source.Node.Name}' has ended"));
        Task? idle = null;
        lock (_gate)
        {
            if (_inputOutputs > 0)
            {
                idle = (_idle ??= Signal.Create(_options.InlineContinuations)).Task;
            }
        }

        if (idle is not null)
        {
            await idle.ConfigureAwait(false);
        }

        if (_ownsEdges)
        {
            _source.Dispose();
            _target.Dispose();
        }

        _stopping.Dispose();
    }

    private static int ClusterSizeFor(BlockNode target, int minimum)
    {
        var wanted = (uint)Math.Clamp(Math.Max(minimum, target.Limits.PreferredSize), 512, MaximumClusterSize);
        return (int)BitOperations.RoundUpToPowerOf2(wanted);
    }

    private static BlockException AsBlockException(Exception error) => error is BlockException
        ? new BlockException(((BlockException)error).Kind, error.Message, error)
        : new BlockException(BlockErrorKind.Io, $"copying failed: {error.Message}", error);

    private void Select(DirtyBitmap? bitmap)
    {
        if (bitmap is null)
        {
            _remaining.Set(0, Length);
        }
        else
        {
            _remaining.Merge(bitmap);
        }

        _wanted.Merge(_remaining);
    }

    // In bytes of the disk: the last cluster counts as far as it reaches.
    private long CountBytes(DirtyBitmap bitmap)
    {
        var beyond = Length > 0 && Length % ClusterSize != 0 && bitmap.Get(Length - 1)
            ? ClusterSize - (Length % ClusterSize)
            : 0;
        return bitmap.DirtyBytes - beyond;
    }

    // Not on this thread: it may be the guest's, and what listens to the token is other people's code.
    private void CancelInputOutput()
    {
        if (_options.InlineContinuations)
        {
            _stopping.Cancel();
        }
        else
        {
            _ = _stopping.CancelAsync();
        }
    }

    private void ThrowIfStopped()
    {
        if (_failure is { } failure)
        {
            throw AsBlockException(failure);
        }
    }

    // Under _gate. For the background: nothing remains before the cursor.
    private BlockCopyStep? TakeNextStep()
    {
        var step = TakeStep(_cursor, Length - _cursor);
        _cursor = step is null ? Length : step.Offset + step.Length;
        return step;
    }

    // Under _gate. Takes the first remaining clusters of the range out of `remaining`.
    private BlockCopyStep? TakeStep(long offset, long length)
    {
        if (!_remaining.TryNextDirty(offset, length, out var run, _stepLength))
        {
            return null;
        }

        var step = new BlockCopyStep(run.Offset, run.Length, _options.InlineContinuations);
        _remaining.Reset(step.Offset, step.Length);
        _steps.Add(step);
        _inputOutputs++;
        return step;
    }

    private BlockCopyStep? FindStep(long offset, long length)
    {
        lock (_gate)
        {
            foreach (var step in _steps)
            {
                if (step.Overlaps(offset, length))
                {
                    return step;
                }
            }

            return null;
        }
    }
}
