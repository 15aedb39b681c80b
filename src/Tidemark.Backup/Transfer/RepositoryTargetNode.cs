// The target of a push: the hypervisor writes clusters in any order, the node makes chunks of them.
//
//   state of a chunk     meaning
//   untouched            nothing arrived; the parent's chunk stands (increment), or it is still to come (whole disk)
//   open                 a part arrived: a buffer, and which of its bytes are covered
//   spilled              as open, but the buffer lies in the spill file, because too many chunks were open
//   stored               all of its bytes arrived and were handed to the repository
//
// A chunk that is covered completely is handed over at once. At the end, what an increment covered in part is completed
// with the parent's bytes, and what it did not touch is inherited.
//
// Why no block can be missed. Only CompleteAsync decides what is not copied, and it is called after the job has ended
// without an error. Whole disk: every chunk must be stored, so every byte was written; otherwise it fails. Increment:
// the bytes covered must be at least what the job's bitmap counted at the instant of the transaction; fewer means that
// a cluster got lost on the way, and it fails. A hypervisor that skips what it knows to be zero fails the same way.
// That the untouched chunks equal the parent's is the identity rule's claim.
//
// A write to a stored chunk (no job does it, a reconnecting client might) opens the chunk again with what was stored.

using System.Buffers;
using Tidemark.Backup.Definitions;
using Tidemark.Blocks.Nodes;
using Tidemark.Repository.Disks;

namespace Tidemark.Backup.Transfer;

/// <summary>A disk of the restore point that is being made, as a node that a hypervisor's job writes to.</summary>
/// <remarks>Thread-safe. A write is complete when the repository has taken its bytes or they are in an open chunk; it
/// is durable only with the restore point.</remarks>
internal sealed class RepositoryTargetNode : BlockNode
{
    private readonly DiskWriter _writer;
    private readonly ParentChunks? _parent;
    private readonly SpillFile _spill;
    private readonly TransferCounters _counters;
    private readonly int _openLimit;
    private readonly Lock _gate = new();

    // Guarded by _gate.
    private readonly Dictionary<int, OpenChunk> _open = [];
    private readonly LinkedList<int> _inMemory = [];
    private readonly bool[] _stored;
    private long _covered;
    private bool _ended;

    // Writes to stored chunks, one at a time: each starts from what the one before it stored.
    private readonly SemaphoreSlim _reopening = new(1, 1);
    private Exception? _firstError;

    /// <summary>Creates the target of one disk.</summary>
    /// <param name="name">The node's name.</param>
    /// <param name="writer">Takes the chunks.</param>
    /// <param name="parent">The parent's chunks for an increment; null when the whole disk is to come.</param>
    /// <param name="spillFolder">Where the spill file is made if it is needed.</param>
    /// <param name="counters">Counts what arrives.</param>
    /// <param name="openLimit">How many chunks are assembled in memory.</param>
    internal RepositoryTargetNode(
        string name,
        DiskWriter writer,
        ParentChunks? parent,
        string spillFolder,
        TransferCounters counters,
        int openLimit = BackupLimits.OpenChunks)
        : base(name)
    {
        _writer = writer;
        _parent = parent;
        _spill = new SpillFile(spillFolder);
        _counters = counters;
        _openLimit = openLimit;
        _stored = new bool[writer.Count];
    }

    /// <inheritdoc/>
    public override string Driver => "tidemark-target";

    /// <inheritdoc/>
    public override long Length => _writer.Length;

    /// <summary>What first went wrong on our side; the hypervisor only sees an I/O error.</summary>
    internal Exception? FirstError => Volatile.Read(ref _firstError);

    /// <inheritdoc/>
    public override ValueTask DisposeAsync()
    {
        lock (_gate)
        {
            _ended = true;
            _open.Clear();
            _inMemory.Clear();
        }

        _spill.Dispose();
        _reopening.Dispose();
        return default;
    }

    /// <summary>Ends the target after the job's success: completes or refuses what is not whole.</summary>
    /// <param name="expectedBytes">Increment: what the job's bitmap counted. Whole disk: ignored.</param>
    /// <param name="granularity">Increment: that bitmap's bytes per bit, a divisor of the chunk size.</param>
    /// <param name="cancellationToken">Cancels.</param>
    /// <exception cref="BackupException">Not everything arrived.</exception>
    internal async Task CompleteAsync(
        long expectedBytes, long granularity, CancellationToken cancellationToken)
    {
        KeyValuePair<int, OpenChunk>[] open;
        long covered;
        lock (_gate)
        {
            // From here on a late write is refused: it would be missing in what is committed.
            _ended = true;
            open = [.. _open.OrderBy(pair => pair.Key)];
            covered = _covered;
        }

        // A bitmap counts its last granule whole, although the disk may end inside it.
        if (granularity > 0 && Length % granularity is > 0 and var tail && IsCoveredFrom(Length - tail))
        {
            covered += granularity - tail;
        }

        if (_parent is null)
        {
            var missing = Array.IndexOf(_stored, false);
            if (missing >= 0)
            {
                throw new BackupException(
                    BackupErrorKind.Transfer,
                    $"the hypervisor's job ended without an error, but only {covered} of {Length} bytes of disk "
                        + $"'{_writer.Name}' "
                    + $"arrived (chunk {missing} is not whole). Run the backup again, or use --mode pull");
            }

            return;
        }

        if (covered < expectedBytes)
        {
            throw new BackupException(
                BackupErrorKind.Transfer,
                $"the hypervisor's job ended without an error, but {covered} bytes of disk '{_writer.Name}' arrived "
                    + "where its "
                + $"bitmap counted {expectedBytes}. Run the backup again, or use --mode pull");
        }

        foreach (var (index, chunk) in open)
        {
            await CompleteFromParentAsync(index, chunk, cancellationToken).ConfigureAwait(false);
        }

        for (var index = 0; index < _stored.Length; index++)
        {
            if (!_stored[index])
            {
                _writer.Inherit(index);
            }
        }
    }

    /// <inheritdoc/>
    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> target, CancellationToken cancellationToken) =>
        GuardAsync(offset, target.Length, (index, start, done, count) =>
            ReadPieceAsync(index, start, target.Slice(done, count), cancellationToken));

    /// <inheritdoc/>
    protected override ValueTask WriteCoreAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken)
    {
        _counters.AddRead(source.Length);
        return GuardAsync(offset, source.Length, (index, start, done, count) =>
            WritePieceAsync(index, start, source.Slice(done, count), count, cancellationToken));
    }

    /// <inheritdoc/>
    protected override ValueTask WriteZeroesCoreAsync(
        long offset, long length, WriteFlags flags, CancellationToken cancellationToken) =>
        GuardAsync(offset, length, (index, start, _, count) =>
            WritePieceAsync(index, start, null, count, cancellationToken));

    /// <inheritdoc/>
    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken) => default;

    // Cuts a request at the chunks' borders. A failure of ours is kept: the hypervisor only learns that there was one.
    private async ValueTask GuardAsync(long offset, long length, Func<int, int, int, int, ValueTask> piece)
    {
        try
        {
            for (long done = 0; done < length;)
            {
                var at = offset + done;
                var index = (int)(at / _writer.ChunkSize);
                var start = (int)(at % _writer.ChunkSize);
                var count = (int)Math.Min(length - done, _writer.LengthOf(index) - start);
                await piece(index, start, (int)Math.Min(done, int.MaxValue), count).ConfigureAwait(false);
                done += count;
            }
        }
        catch (Exception exception) when (exception is not BlockException)
        {
            Interlocked.CompareExchange(ref _firstError, exception, null);
            throw new BlockException(BlockErrorKind.Io, $"the repository did not take the data: {exception.Message}",
                exception);
        }
    }

    // Writes a part of one chunk; no source means zeroes.
    private async ValueTask WritePieceAsync(
        int index, int start, ReadOnlyMemory<byte>? source, int count, CancellationToken cancellationToken)
    {
        var length = _writer.LengthOf(index);
        if (count == length && TryStoreWhole(index, length))
        {
            if (source is { } whole)
            {
                await _writer.PutChunkAsync(index, whole, cancellationToken).ConfigureAwait(false);
            }
            else
            {
                _writer.PutZero(index);
            }

            return;
        }

        // Usually a chunk is not stored yet when a part of it arrives.
        if (TryAssemble(index, start, source, count, length, null, out var full))
        {
            await PutAssembledAsync(index, full, length, cancellationToken).ConfigureAwait(false);
            return;
        }

        await _reopening.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            var reopened = new byte[length];
            await _writer.ReadChunkAsync(index, reopened, cancellationToken).ConfigureAwait(false);
            TryAssemble(index, start, source, count, length, reopened, out full);
            await PutAssembledAsync(index, full, length, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _reopening.Release();
        }
    }

    private async ValueTask PutAssembledAsync(int index, byte[]? full, int length, CancellationToken cancellationToken)
    {
        if (full is null)
        {
            return;
        }

        try
        {
            await _writer.PutChunkAsync(index, full.AsMemory(0, length), cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(full);
        }
    }

    private bool IsStored(int index)
    {
        lock (_gate)
        {
            return _stored[index];
        }
    }

    // Whether the end of the disk, which lies in its last chunk, was written from an offset on.
    private bool IsCoveredFrom(long offset)
    {
        lock (_gate)
        {
            var index = _stored.Length - 1;
            var start = (int)(offset - (long)index * _writer.ChunkSize);
            return _stored[index] || _open.TryGetValue(index, out var chunk)
                && chunk.Covered.Ranges.Any(range => range.Start <= start && range.End == _writer.LengthOf(index));
        }
    }

    // A write that covers its chunk alone needs no buffer.
    private bool TryStoreWhole(int index, int length)
    {
        lock (_gate)
        {
            ThrowIfEnded();
            if (_open.ContainsKey(index))
            {
                return false;
            }

            if (!_stored[index])
            {
                _stored[index] = true;
                Cover(length);
            }

            return true;
        }
    }

    // Puts a part into its chunk's buffer. `full` is the buffer when the chunk is covered; it is the caller's then.
    // False: the chunk is stored already, and its content must be given to open it again.
    private bool TryAssemble(
        int index, int start, ReadOnlyMemory<byte>? source, int count, int length, byte[]? reopened, out byte[]? full)
    {
        full = null;
        lock (_gate)
        {
            ThrowIfEnded();
            if (_stored[index] && reopened is null)
            {
                return false;
            }

            if (!_open.TryGetValue(index, out var chunk))
            {
                chunk = new OpenChunk();
                _open.Add(index, chunk);
            }

            if (chunk.Buffer is null)
            {
                LoadBuffer(index, chunk, length);
            }

            if (_stored[index])
            {
                _stored[index] = false;
                reopened!.CopyTo(chunk.Buffer!, 0);
                chunk.Covered.Add(0, length);
            }

            var target = chunk.Buffer.AsSpan(start, count);
            if (source is { } bytes)
            {
                bytes.Span.CopyTo(target);
            }
            else
            {
                target.Clear();
            }

            Cover(chunk.Covered.Add(start, start + count));
            if (chunk.Covered.Length == length)
            {
                _open.Remove(index);
                _inMemory.Remove(chunk.Place!);
                _stored[index] = true;
                full = chunk.Buffer;
            }

            return true;
        }
    }

    private void LoadBuffer(int index, OpenChunk chunk, int length)
    {
        while (_inMemory.Count >= _openLimit)
        {
            Spill(_inMemory.First!.Value);
        }

        chunk.Buffer = ArrayPool<byte>.Shared.Rent(length);
        chunk.Place = _inMemory.AddLast(index);
        if (chunk.IsSpilled)
        {
            foreach (var (from, to) in chunk.Covered.Ranges)
            {
                _spill.Read((long)index * _writer.ChunkSize + from, chunk.Buffer.AsSpan(from, to - from));
            }
        }
    }

    private void Spill(int index)
    {
        var chunk = _open[index];
        foreach (var (from, to) in chunk.Covered.Ranges)
        {
            _spill.Write((long)index * _writer.ChunkSize + from, chunk.Buffer.AsSpan(from, to - from));
        }

        _inMemory.Remove(chunk.Place!);
        ArrayPool<byte>.Shared.Return(chunk.Buffer!);
        chunk.Buffer = null;
        chunk.Place = null;
        chunk.IsSpilled = true;
    }

    private void Cover(long count)
    {
        _covered += count;
        _counters.AddDone(count);
    }

    private void ThrowIfEnded()
    {
        if (_ended)
        {
            throw new BlockException(BlockErrorKind.Invalid, $"the target of disk '{_writer.Name}' has ended");
        }
    }

    // After the end nobody else touches the chunk.
    private async Task CompleteFromParentAsync(int index, OpenChunk chunk, CancellationToken cancellationToken)
    {
        var length = _writer.LengthOf(index);
        var whole = ArrayPool<byte>.Shared.Rent(length);
        try
        {
            await _parent!.ReadAsync(index, whole.AsMemory(0, length), cancellationToken).ConfigureAwait(false);
            foreach (var (from, to) in chunk.Covered.Ranges)
            {
                if (chunk.Buffer is { } buffer)
                {
                    buffer.AsSpan(from, to - from).CopyTo(whole.AsSpan(from));
                }
                else
                {
                    _spill.Read((long)index * _writer.ChunkSize + from, whole.AsSpan(from, to - from));
                }
            }

            await _writer.PutChunkAsync(index, whole.AsMemory(0, length), cancellationToken).ConfigureAwait(false);
            _stored[index] = true;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(whole);
        }
    }

    // What the target holds: what arrived, otherwise the parent's bytes, otherwise zeroes.
    private async ValueTask ReadPieceAsync(int index, int start, Memory<byte> target,
        CancellationToken cancellationToken)
    {
        var length = _writer.LengthOf(index);
        var whole = new byte[length];
        if (IsStored(index))
        {
            await _writer.ReadChunkAsync(index, whole, cancellationToken).ConfigureAwait(false);
        }
        else if (_parent is not null)
        {
            await _parent.ReadAsync(index, whole, cancellationToken).ConfigureAwait(false);
        }

        lock (_gate)
        {
            if (_open.TryGetValue(index, out var chunk))
            {
                foreach (var (from, to) in chunk.Covered.Ranges)
                {
                    if (chunk.Buffer is { } buffer)
                    {
                        buffer.AsSpan(from, to - from).CopyTo(whole.AsSpan(from));
                    }
                    else
                    {
                        _spill.Read((long)index * _writer.ChunkSize + from, whole.AsSpan(from, to - from));
                    }
                }
            }
        }

        whole.AsMemory(start, target.Length).CopyTo(target);
    }

    private sealed class OpenChunk
    {
        internal byte[]? Buffer { get; set; }

        internal RangeSet Covered { get; } = new();

        internal LinkedListNode<int>? Place { get; set; }

        internal bool IsSpilled { get; set; }
    }
}
