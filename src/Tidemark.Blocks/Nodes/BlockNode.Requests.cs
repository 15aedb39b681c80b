using System.Numerics;
using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Filters;

namespace Tidemark.Blocks.Nodes;

// The checked entry points and the bare cores behind them.
public abstract partial class BlockNode
{
    /// <summary>
    /// Reads <paramref name="target"/>.Length bytes at <paramref name="offset"/> into the caller's memory.
    /// </summary>
    /// <exception cref="BlockException">Out of range, or the storage failed; the buffer's content is then
    /// undefined.</exception>
    public ValueTask ReadAsync(long offset, Memory<byte> target, CancellationToken cancellationToken = default)
    {
        CheckRange(offset, target.Length, "read");
        if (target.IsEmpty)
        {
            return default;
        }

        return FleecingGuard is { } guard
            ? guard.ReadAsync(this, offset, target, cancellationToken)
            : ReadCoreAsync(offset, target, cancellationToken);
    }

    /// <summary>
    /// Writes the bytes at <paramref name="offset"/>. Durable after a later flush, or at once with FUA.
    /// </summary>
    /// <exception cref="BlockException">Out of range, read-only, or the storage failed; some bytes may be
    /// changed.</exception>
    public ValueTask WriteAsync(
        long offset,
        ReadOnlyMemory<byte> source,
        WriteFlags flags = WriteFlags.None,
        CancellationToken cancellationToken = default)
    {
        CheckRange(offset, source.Length, "write");
        CheckWritable("write");
        if (source.IsEmpty)
        {
            return default;
        }

        try
        {
            return Finish(
                WriteCoreAsync(offset, source, CoreFlags(flags), cancellationToken), offset, source.Length, flags);
        }
        catch
        {
            Bitmaps.MarkDirty(offset, source.Length);
            throw;
        }
    }

    /// <summary>Makes a range read as zero, without the bytes being sent.</summary>
    /// <exception cref="BlockException">As <see cref="WriteAsync"/>; also not supported with
    /// <see cref="WriteFlags.NoFallback"/>.</exception>
    public ValueTask WriteZeroesAsync(
        long offset,
        long length,
        WriteFlags flags = WriteFlags.None,
        CancellationToken cancellationToken = default)
    {
        CheckRange(offset, length, "write zeroes");
        CheckWritable("write zeroes");
        if (length == 0)
        {
            return default;
        }

        try
        {
            return Finish(
                WriteZeroesCoreAsync(offset, length, CoreFlags(flags), cancellationToken), offset, length, flags);
        }
        catch
        {
            Bitmaps.MarkDirty(offset, length);
            throw;
        }
    }

    /// <summary>
    /// Says that a range's content is no longer wanted; what a read then returns is undefined. A hint.
    /// </summary>
    public ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken = default)
    {
        CheckRange(offset, length, "discard");
        CheckWritable("discard");

        // What is ignored changes no byte, so no bitmap need know of it.
        if (length == 0 || StopsDiscards)
        {
            return default;
        }

        try
        {
            return Finish(DiscardCoreAsync(offset, length, cancellationToken), offset, length, WriteFlags.None);
        }
        catch
        {
            Bitmaps.MarkDirty(offset, length);
            throw;
        }
    }

    /// <summary>Makes all writes that completed before the call durable.</summary>
    public ValueTask FlushAsync(CancellationToken cancellationToken = default) =>
        IsReadOnly ? default : FlushCoreAsync(cancellationToken);

    /// <summary>Changes the disk's size. New bytes read as zero; bytes past a smaller size are gone. For the format
    /// above a file, which grows it as it allocates; a disk with bitmaps or parents of its own is resized in a drained
    /// section.</summary>
    /// <exception cref="BlockException">Read-only, the storage failed or is full, or the driver cannot
    /// resize.</exception>
    public ValueTask ResizeAsync(long length, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        CheckWritable("resize");
        if (Bitmaps.Count > 0 && length != Length)
        {
            // A bitmap has its disk's length for life: one that does not cover the new bytes would miss writes to them.
            throw new BlockException(
                BlockErrorKind.NotSupported, $"cannot resize node '{Name}': it has dirty bitmaps; remove them first");
        }

        return ResizeCoreAsync(length, cancellationToken);
    }

    /// <summary>
    /// Appends what is known of a range, as a reader of this node sees it, backing chain included. The whole range is
    /// described, in order; flags are <see cref="ExtentFlags.Hole"/> and <see cref="ExtentFlags.Zero"/>. Bytes said to
    /// be zero are zero; bytes of which nothing is said may be zero all the same.
    /// </summary>
    public ValueTask GetBlockStatusAsync(
        long offset,
        long length,
        ExtentList extents,
        CancellationToken cancellationToken = default)
    {
        CheckRange(offset, length, "query the block status of");
        if (length == 0)
        {
            return default;
        }

        return FleecingGuard is { } guard
            ? guard.GetBlockStatusAsync(this, offset, length, extents, cancellationToken)
            : GetBlockStatusCoreAsync(offset, length, extents, cancellationToken);
    }

    /// <summary>
    /// Appends which image of the backing chain holds each part of a range: see <see cref="DepthRun"/>. Filters and the
    /// raw format do not count. The whole range is described, in order. For people and tools: a chain that is written
    /// meanwhile may have changed when the answer is read, so nothing that must be right is decided by it.
    /// </summary>
    public ValueTask GetAllocationDepthAsync(
        long offset, long length, DepthList depths, CancellationToken cancellationToken = default)
    {
        CheckRange(offset, length, "query the allocation depth of");
        return length == 0 ? default : GetAllocationDepthCoreAsync(offset, length, depths, cancellationToken);
    }

    /// <summary>
    /// Set on the target of a copy-before-write filter whose backing chain holds the filter's disk: what is read
    /// through this node is then the disk at the filter's point in time. Null for every other node.
    /// </summary>
    internal FleecingGuard? FleecingGuard { get; set; }

    internal ValueTask ReadUnguardedAsync(long offset, Memory<byte> target, CancellationToken cancellationToken) =>
        ReadCoreAsync(offset, target, cancellationToken);

    internal ValueTask GetBlockStatusUnguardedAsync(
        long offset, long length, ExtentList extents, CancellationToken cancellationToken) =>
        GetBlockStatusCoreAsync(offset, length, extents, cancellationToken);

    /// <summary>Reads; the range is inside the disk and not empty.</summary>
    protected abstract ValueTask ReadCoreAsync(long offset, Memory<byte> target, CancellationToken cancellationToken);

    /// <summary>Writes; the range is inside the disk and not empty, the node is writable.</summary>
    protected virtual ValueTask WriteCoreAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken) =>
        throw ReadOnlyError("write");

    /// <summary>Writes zeroes; the range is inside the disk and not empty, the node is writable.</summary>
    protected virtual ValueTask WriteZeroesCoreAsync(
        long offset, long length, WriteFlags flags, CancellationToken cancellationToken) =>
        throw ReadOnlyError("write zeroes");

    /// <summary>Discards; a node that cannot does nothing.</summary>
    protected virtual ValueTask DiscardCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
        default;

    /// <summary>Flushes.</summary>
    protected virtual ValueTask FlushCoreAsync(CancellationToken cancellationToken) => default;

    /// <summary>Resizes; the node is writable. A node that cannot says so.</summary>
    protected virtual ValueTask ResizeCoreAsync(long length, CancellationToken cancellationToken) =>
        throw new BlockException(
            BlockErrorKind.NotSupported, $"cannot resize node '{Name}': driver '{Driver}' has a fixed size");

    /// <summary>Describes a range; a node that knows nothing says that all of it is data.</summary>
    protected virtual ValueTask GetBlockStatusCoreAsync(
        long offset, long length, ExtentList extents, CancellationToken cancellationToken)
    {
        extents.Append(offset, length, ExtentFlags.None);
        return default;
    }

    /// <summary>Says which image holds a range; a node that has no backing holds all of it itself.</summary>
    protected virtual ValueTask GetAllocationDepthCoreAsync(
        long offset, long length, DepthList depths, CancellationToken cancellationToken)
    {
        depths.Append(offset, length, 1);
        return default;
    }

    // What is unchanged on an image is a change of the file below it. A filter's bytes are its child's.
    private WriteFlags CoreFlags(WriteFlags flags)
    {
        flags = StopsDiscards ? flags & ~WriteFlags.MayUnmap : flags;
        return IsFilter ? flags : flags & ~WriteFlags.Unchanged;
    }

    private ValueTask Finish(ValueTask pending, long offset, long length, WriteFlags flags)
    {
        if (pending.IsCompletedSuccessfully)
        {
            if ((flags & WriteFlags.Unchanged) == 0)
            {
                Bitmaps.MarkDirty(offset, length);
            }

            return pending;
        }

        return FinishSlowly(pending, offset, length, (flags & WriteFlags.Unchanged) != 0);
    }

    private async ValueTask FinishSlowly(ValueTask pending, long offset, long length, bool isUnchanged)
    {
        var failed = true;
        try
        {
            await pending.ConfigureAwait(false);
            failed = false;
        }
        finally
        {
            if (failed || !isUnchanged)
            {
                Bitmaps.MarkDirty(offset, length);
            }
        }
    }

    private void CheckRange(long offset, long length, string operation)
    {
        var size = Length;
        if (offset < 0 || length < 0 || offset > size || length > size - offset)
        {
            throw new BlockException(
                BlockErrorKind.OutOfRange,
                $"cannot {operation} {length} bytes at offset {offset} of node '{Name}': its length is {size}");
        }

        var alignment = Limits.RequestAlignment;
        if (alignment > 1 && !IsAligned(offset | length, alignment))
        {
            throw new BlockException(
                BlockErrorKind.OutOfRange,
                $"cannot {operation} {length} bytes at offset {offset} of node '{Name}': "
                + $"it needs multiples of {alignment}");
        }
    }

    private static bool IsAligned(long value, int alignment) =>
        BitOperations.IsPow2(alignment) && (value & (alignment - 1)) == 0;

    private void CheckWritable(string operation)
    {
        if (IsReadOnly)
        {
            throw ReadOnlyError(operation);
        }
    }

    private BlockException ReadOnlyError(string operation) =>
        new(BlockErrorKind.ReadOnly, $"cannot {operation}: node '{Name}' is read-only");
}
