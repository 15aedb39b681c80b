// Reads the frozen view of one disk into the repository.
//
//   window by window   block status of the view; for an increment also the dirty bitmap's extents
//   chunk by chunk     ChunkCutter says where each part comes from
//   at most N chunks   are read, completed from the parent and handed over at one time; the repository hashes,
//                      compresses and encrypts them on all cores meanwhile
//
// A disk that was shrunk and grown again reads as zero in the regrown part, which is the disk's end, and its bitmap
// calls that clean (see KindRule). So where a clean part reads as zero the parent must be zero. For a chunk that is
// clean and zero throughout, the parent's list of chunks tells; for one of which a part is read, the parent's chunk is
// at hand. Of the chunks that are clean throughout and zero in part, only the last one with clean data can hold the
// border of a shrunk disk, for clean data behind it was not cut off: its parent's chunk is read at the end.
//
// Bytes that the bitmap calls clean are not read from the hypervisor, with two exceptions: a parent's chunk that is
// damaged or lost is replaced by what the view holds, and a contradiction between bitmap and view makes the reader
// start again and read everything (see KindRule: a shrunk and regrown disk).

using System.Buffers;
using System.Runtime.CompilerServices;
using Tidemark.Backup.Definitions;
using Tidemark.Blocks.Extents;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Repository;
using Tidemark.Repository.Disks;

namespace Tidemark.Backup.Transfer;

/// <summary>Reads one disk of a pull.</summary>
internal sealed class PullReader
{
    private readonly NbdNode _view;
    private readonly DiskWriter _writer;
    private readonly ParentChunks? _parent;
    private readonly string? _context;
    private readonly TransferCounters _counters;
    private long _dirtyBytes;

    /// <summary>Creates a reader.</summary>
    /// <param name="view">The export.</param>
    /// <param name="writer">Takes the chunks.</param>
    /// <param name="parent">The parent's chunks for an increment, otherwise null.</param>
    /// <param name="bitmap">The exported bitmap's name for an increment, otherwise null.</param>
    /// <param name="counters">Counts what is read.</param>
    internal PullReader(NbdNode view, DiskWriter writer, ParentChunks? parent, string? bitmap,
        TransferCounters counters)
    {
        _view = view;
        _writer = writer;
        _parent = parent;
        _context = bitmap is null ? null : MetaContextNames.ForDirtyBitmap(bitmap);
        _counters = counters;
    }

    /// <summary>Reads the disk.</summary>
    /// <returns>Null, or why everything was read although a bitmap was there.</returns>
    /// <param name="expectedDirty">Increment: what the hypervisor said its bitmap counts; the extents must show
    /// it.</param>
    /// <param name="granularity">Increment: the bitmap's bytes per bit.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    internal async Task<string?> ReadAsync(long expectedDirty, long granularity, CancellationToken cancellationToken)
    {
        if (_view.Length != _writer.Length)
        {
            throw new BackupException(
                BackupErrorKind.Transfer,
                $"the export of disk '{_writer.Name}' has {_view.Length} bytes, the disk had {_writer.Length}: it was "
                    + "resized");
        }

        if (_context is null)
        {
            _counters.BytesTotal = _writer.Length;
            await ReadAllAsync(incremental: false, cancellationToken).ConfigureAwait(false);
            return null;
        }

        if (!_view.MetaContexts.Contains(_context))
        {
            throw new BackupException(
                BackupErrorKind.Transfer, $"the export of disk '{_writer.Name}' does not offer its bitmap "
                    + $"'{_context}'");
        }

        _counters.BytesTotal = _writer.Length;
        try
        {
            await ReadAllAsync(incremental: true, cancellationToken).ConfigureAwait(false);
        }
        catch (BitmapContradictedException contradiction)
        {
            _counters.Restart();
            await ReadAllAsync(incremental: false, cancellationToken).ConfigureAwait(false);
            return contradiction.Message;
        }

        // The bitmap does not record, so both numbers are of the same instant. QEMU counts its last granule whole.
        return _dirtyBytes > expectedDirty - granularity && _dirtyBytes <= expectedDirty
            ? null
            : throw new BackupException(
                BackupErrorKind.Transfer,
                $"the bitmap of disk '{_writer.Name}' shows {_dirtyBytes} dirty bytes where the hypervisor counted "
                    + $"{expectedDirty}");
    }

    private Task ReadAllAsync(bool incremental, CancellationToken cancellationToken) => Parallel.ForEachAsync(
        CutAsync(incremental, cancellationToken),
        new ParallelOptions
        {
            MaxDegreeOfParallelism = BackupLimits.PullChunksInFlight,
            CancellationToken = cancellationToken,
        },
        CopyAsync);

    // The chunks that have to be looked at; clean ones are inherited and zero ones noted right here.
    private async IAsyncEnumerable<ChunkWork> CutAsync(
        bool incremental, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var allocation = new ExtentList();
        var dirty = new ExtentList();
        var chunkSize = _writer.ChunkSize;
        var window = Math.Max(BackupLimits.StatusWindow / chunkSize, 1) * chunkSize;
        ChunkWork? border = null;
        _dirtyBytes = 0;
        for (long offset = 0; offset < _writer.Length; offset += window)
        {
            var length = Math.Min(window, _writer.Length - offset);
            allocation.Clear();
            await _view.GetBlockStatusAsync(offset, length, allocation, cancellationToken).ConfigureAwait(false);
            if (incremental)
            {
                dirty.Clear();
                await _view.GetMetaContextExtentsAsync(_context!, offset, length, dirty, cancellationToken)
                    .ConfigureAwait(false);
                _dirtyBytes += dirty.Where(extent => extent.IsDirty).Sum(extent => extent.Length);
            }

            foreach (var work in ChunkCutter.Cut(offset, length, chunkSize, allocation, incremental ? dirty : null))
            {
                border = work.HasCleanData ? work : border;
                if (work.IsAll(PieceSource.Parent) && InheritUnlessContradicted(work))
                {
                    _counters.AddDone(_writer.LengthOf(work.Index));
                }
                else if (work.IsAll(PieceSource.Zero))
                {
                    _writer.PutZero(work.Index);
                    _counters.AddDone(_writer.LengthOf(work.Index));
                }
                else
                {
                    yield return work;
                }
            }
        }

        if (border is { CleanHoles.Count: > 0 } && border.IsAll(PieceSource.Parent))
        {
            await CheckBorderAsync(border, cancellationToken).ConfigureAwait(false);
        }
    }

    private async Task CheckBorderAsync(ChunkWork border, CancellationToken cancellationToken)
    {
        var buffer = new byte[_writer.LengthOf(border.Index)];
        try
        {
            await _parent!.ReadAsync(border.Index, buffer, cancellationToken).ConfigureAwait(false);
        }
        catch (RepositoryException exception) when (IsLost(exception))
        {
            throw new BitmapContradictedException($"the parent's chunk {border.Index} cannot be read: "
                + exception.Message);
        }

        CheckCleanHoles(border, buffer);
    }

    private static void CheckCleanHoles(ChunkWork work, ReadOnlySpan<byte> parent)
    {
        foreach (var hole in work.CleanHoles)
        {
            if (parent.Slice(hole.Start, hole.Length).ContainsAnyExcept((byte)0))
            {
                throw Contradicted(work);
            }
        }
    }

    private static BitmapContradictedException Contradicted(ChunkWork work) => new(
        $"the bitmap calls chunk {work.Index} clean where it reads as zero and the parent has data (was the disk "
            + "shrunk and grown again?)");

    private static bool IsLost(RepositoryException exception) =>
        exception.Kind is RepositoryErrorKind.Damaged or RepositoryErrorKind.MissingBlob;

    // False: the parent's chunk is not in the repository any more, so the chunk must be read.
    private bool InheritUnlessContradicted(ChunkWork work)
    {
        if (work.IsHole && !_parent!.IsZero(work.Index))
        {
            throw Contradicted(work);
        }

        if (!_writer.CanInherit(work.Index, out _))
        {
            return false;
        }

        _writer.Inherit(work.Index);
        return true;
    }

    private async ValueTask CopyAsync(ChunkWork work, CancellationToken cancellationToken)
    {
        var length = _writer.LengthOf(work.Index);
        var buffer = ArrayPool<byte>.Shared.Rent(length);
        var chunk = buffer.AsMemory(0, length);
        var pieces = work.Pieces;
        if (work.Has(PieceSource.Parent) && !await TryReadParentAsync(work, chunk,
            cancellationToken).ConfigureAwait(false))
        {
            pieces = [new ChunkPiece(0, length, PieceSource.View)];
        }

        foreach (var piece in pieces)
        {
            var part = chunk.Slice(piece.Start, piece.Length);
            if (piece.Source == PieceSource.Zero)
            {
                part.Span.Clear();
            }
            else if (piece.Source == PieceSource.View)
            {
                await _view.ReadAsync((long)work.Index * _writer.ChunkSize + piece.Start, part, cancellationToken)
                    .ConfigureAwait(false);
                _counters.AddRead(piece.Length);
            }
        }

        await _writer.PutChunkAsync(work.Index, chunk, cancellationToken).ConfigureAwait(false);
        _counters.AddDone(length);

        // Not given back after an error: a request that failed may still own the memory.
        ArrayPool<byte>.Shared.Return(buffer);
    }

    private async ValueTask<bool> TryReadParentAsync(
        ChunkWork work, Memory<byte> target, CancellationToken cancellationToken)
    {
        if (work.IsAll(PieceSource.Parent))
        {
            return false;
        }

        try
        {
            await _parent!.ReadAsync(work.Index, target, cancellationToken).ConfigureAwait(false);
            CheckCleanHoles(work, target.Span);
            return true;
        }
        catch (RepositoryException exception) when (IsLost(exception))
        {
            // The disk still has what the repository lost.
            return false;
        }
    }

    private sealed class BitmapContradictedException(string message) : Exception(message);
}
