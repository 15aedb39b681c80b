using System.Collections.Concurrent;
using Tidemark.Repository.Backends;
using Tidemark.Repository.Blobs;
using Tidemark.Repository.Flow;
using Tidemark.Repository.Indexes;

namespace Tidemark.Repository.Packs;

// The way of a blob into the repository:
//
//   caller ── budget (bytes) ── queue ── encoders (one thread a core) ── open pack ── put ── index file
//                                        SHA-256, known?, zstd, AES      16 MiB       fsync
//
// * Encoders are threads of their own: their work never yields, and would starve the thread pool that reads.
// * Memory is bounded twice: bytes that wait for an encoder (ByteBudget), packs that are open or being stored (_slots).
//   When the storage is slow, encoders wait for a slot, the queue fills, callers wait for the budget.
// * A blob is claimed by its id before it is compressed, so that two encoders never store the same one. A claim is
//   dropped when the pack that holds the blob is durable and entered in _stored.
// * Blobs of this run become known to others (the shared index) only when an index file that names them is durable:
//   another run may build a snapshot on what it finds there.
// * The first error wins, sticks, and fails every later call. Packs stored until then stay: the next run finds them.

/// <summary>Stores the blobs of one run: deduplicates, compresses, seals, packs, puts, indexes. Thread-safe.</summary>
internal sealed partial class BlobWriter : IAsyncDisposable
{
    private readonly IBackend _backend;
    private readonly FileStore _files;
    private readonly BlobIndex _shared;
    private readonly BlobCodecPool _codecs;
    private readonly TimeProvider _time;
    private readonly CancellationTokenSource _abort = new();
    private readonly ByteBudget _budget = new(RepositoryLimits.MaximumQueuedBytes);
    private readonly BlockingCollection<BlobJob> _queue = [];
    private readonly PendingCount _jobs = new();
    private readonly PendingCount _puts = new();
    private readonly SemaphoreSlim _slots = new(RepositoryLimits.MaximumPacksInFlight);
    private readonly SemaphoreSlim _putGate = new(RepositoryLimits.MaximumConcurrentPuts);
    private readonly ConcurrentBag<byte[]> _buffers = [];
    private readonly Thread[] _encoders;

    // Blobs in durable packs of this run, whether an index file names them yet or not.
    private readonly BlobIndex _stored = new();

    private readonly Lock _gate = new();

    // Guarded by _gate.
    private readonly Dictionary<(BlobType, BlobId), OpenPack?> _claims = [];
    private readonly OpenPack?[] _open = new OpenPack?[2];
    private Exception? _failure;

    internal BlobWriter(
        IBackend backend, FileStore files, BlobIndex shared, BlobCodecPool codecs, TimeProvider time, int encoders)
    {
        _backend = backend;
        _files = files;
        _shared = shared;
        _codecs = codecs;
        _time = time;
        _lastIndexAt = time.GetTimestamp();
        _encoders = new Thread[encoders];
        for (var number = 0; number < encoders; number++)
        {
            _encoders[number] = new Thread(RunEncoder) { IsBackground = true, Name = $"tidemark encoder {number}" };
            _encoders[number].Start();
        }
    }

    /// <summary>
    /// Hands a blob over; waits while too many bytes are under way. The job is told how it ended. On any error, the
    /// job's memory is released and the job is told.
    /// </summary>
    internal async ValueTask EnqueueAsync(BlobJob job, CancellationToken cancellationToken)
    {
        try
        {
            ThrowIfFailed();
            using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _abort.Token);
            await _budget.TakeAsync(job.Content.Length, either.Token).ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            job.ReleaseMemory();
            job.Failed(exception);
            cancellationToken.ThrowIfCancellationRequested();
            ThrowIfFailed();
            throw;
        }

        _jobs.Add();
        _queue.Add(job, CancellationToken.None);
    }

    /// <summary>Hands over a blob whose memory nobody needs to wait for (the well-known chunk of zeroes).</summary>
    internal void EnqueueAtOnce(BlobJob job)
    {
        try
        {
            ThrowIfFailed();
        }
        catch (RepositoryException exception)
        {
            job.Failed(exception);
            throw;
        }

        _budget.TakeAtOnce(job.Content.Length);
        _jobs.Add();
        _queue.Add(job, CancellationToken.None);
    }

    /// <summary>Whether a blob is stored, or is being stored by this run; with its length if that is known
    /// yet.</summary>
    internal bool TryFind(BlobType type, in BlobId id, out BlobLocation location) =>
        _shared.TryFind(type, id, out location) || _stored.TryFind(type, id, out location);

    /// <summary>Waits until every blob that was handed over is in a pack.</summary>
    internal async Task DrainAsync(CancellationToken cancellationToken)
    {
        await _jobs.WaitAsync(cancellationToken).ConfigureAwait(false);
        ThrowIfFailed();
    }

    /// <summary>Makes all of it durable: blobs, packs, then the index files that name them.</summary>
    internal async Task FlushAsync(CancellationToken cancellationToken)
    {
        await DrainAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            CloseOpenPacks();
            await _puts.WaitAsync(cancellationToken).ConfigureAwait(false);
            ThrowIfFailed();
            await WriteIndexAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is not OperationCanceledException)
        {
            // Sticks like every other failure: nobody may try again and commit without what failed here.
            Fail(exception);
            throw;
        }

        ThrowIfFailed();
    }

    /// <summary>Reads a data blob of this run or of the repository, wherever it is by now. Drain first.</summary>
    internal async ValueTask ReadAsync(
        Repository repository, BlobId id, Memory<byte> target, CancellationToken cancellationToken)
    {
        OpenPack? pack;
        lock (_gate)
        {
            _claims.TryGetValue((BlobType.Data, id), out pack);
        }

        // In a pack that is not durable yet? When its memory is gone by now, it is.
        if (pack is not null && pack.TryCopy(id, out var entry, out var message))
        {
            var codec = _codecs.Rent();
            var wrong = codec.Open(message, entry.UncompressedLength != 0, target.Span);
            _codecs.Return(codec);
            if (wrong is not null || BlobId.Of(target.Span) != id)
            {
                throw new RepositoryException(
                    RepositoryErrorKind.Damaged,
                    $"the blob '{id}' was damaged in memory: {wrong ?? "its digest is wrong"}");
            }
        }
        else if (_stored.TryFind(BlobType.Data, id, out var location))
        {
            await repository.ReadPlaceAsync(id, location, target, cancellationToken).ConfigureAwait(false);
        }
        else
        {
            await repository.ReadBlobAsync(BlobType.Data, id, target, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Fails the run; the first failure stays.</summary>
    internal void Fail(Exception exception)
    {
        lock (_gate)
        {
            _failure ??= exception;
        }

        _abort.Cancel();
    }

    /// <summary>Throws what failed the run, if something did.</summary>
    internal void ThrowIfFailed()
    {
        Exception? failure;
        lock (_gate)
        {
            failure = _failure;
        }

        switch (failure)
        {
            case null:
                return;
            case RepositoryException known:
                throw new RepositoryException(known.Kind, known.Message, known);
            default:
                throw new RepositoryException(
                    RepositoryErrorKind.Io, $"storing in '{_backend.Location}' failed: {failure.Message}", failure);
        }
    }

    /// <summary>Stops. What was not flushed is dropped; packs that were stored stay.</summary>
    public async ValueTask DisposeAsync()
    {
        Fail(new OperationCanceledException("the run was closed"));
        _queue.CompleteAdding();
        await _jobs.WaitAsync(CancellationToken.None).ConfigureAwait(false);
        await _puts.WaitAsync(CancellationToken.None).ConfigureAwait(false);
        foreach (var encoder in _encoders)
        {
            encoder.Join();
        }

        _queue.Dispose();
        _abort.Dispose();
        _slots.Dispose();
        _putGate.Dispose();
        _indexGate.Dispose();
    }
}
