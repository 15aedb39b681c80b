using Tidemark.Repository.Backends;
using Tidemark.Repository.Blobs;
using Tidemark.Repository.Crypto;
using Tidemark.Repository.Indexes;

namespace Tidemark.Repository.Packs;

// The encoders' loop, and what follows when a pack is full.
internal sealed partial class BlobWriter
{
    private static readonly TimeSpan s_indexInterval = TimeSpan.FromMinutes(5);

    private readonly SemaphoreSlim _indexGate = new(1);

    // Guarded by _gate: packs that are durable and that no index file names yet.
    private List<(BlobId Pack, IReadOnlyList<PackEntry> Entries)> _unindexed = [];
    private int _unindexedBlobs;
    private long _lastIndexAt;

    private void RunEncoder()
    {
        var codec = _codecs.Rent();
        foreach (var job in _queue.GetConsumingEnumerable())
        {
            try
            {
                ThrowIfFailed();
                Encode(job, codec);
            }
#pragma warning disable CA1031 // The top of the thread's loop: whatever went wrong fails the run.
            catch (Exception exception)
            {
                Fail(exception);
                job.Failed(exception);
            }
#pragma warning restore CA1031

            job.ReleaseMemory();
            _budget.Return(job.Content.Length);
            _jobs.Done();
        }

        _codecs.Return(codec);
    }

    private void Encode(BlobJob job, BlobCodec codec)
    {
        var content = job.Content.Span;
        var id = BlobId.Of(content);
        if (!TryClaim(job.Type, id))
        {
            job.Stored(id, isNew: false, 0);
            return;
        }

        var compressed = codec.TryCompress(content, out var shorter);
        var encoded = compressed ? shorter : content;
        var sealedLength = encoded.Length + BlobCipher.Overhead;
        var (pack, room) = Reserve(job.Type, id, sealedLength, compressed ? content.Length : 0, codec);
        codec.Cipher.Seal(encoded, room.Span);
        lock (_gate)
        {
            _claims[(job.Type, id)] = pack;
        }

        var entryLength = compressed ? PackHeader.CompressedEntryLength : PackHeader.PlainEntryLength;
        job.Stored(id, isNew: true, sealedLength + entryLength);
        if (pack.Written())
        {
            Finish(pack, codec);
        }
    }

    // True: nobody has this blob, and the caller must store it.
    private bool TryClaim(BlobType type, in BlobId id)
    {
        // A claim is dropped after the blob is in _stored, so looking at claims first cannot miss it.
        lock (_gate)
        {
            if (_claims.ContainsKey((type, id)) || TryFind(type, id, out _))
            {
                return false;
            }

            _claims.Add((type, id), null);
            return true;
        }
    }

    private (OpenPack Pack, Memory<byte> Room) Reserve(
        BlobType type, in BlobId id, int sealedLength, int uncompressedLength, BlobCodec codec)
    {
        var alone = sealedLength + PackHeader.CompressedEntryLength + BlobCipher.Overhead + PackHeader.TrailerLength;
        if (alone > RepositoryLimits.PackLength)
        {
            // A large tree gets a pack of its own.
            _slots.Wait(_abort.Token);
            var own = new OpenPack(type, new byte[alone]);
            if (!own.TryReserve(id, sealedLength, uncompressedLength, out var whole))
            {
                throw new InvalidOperationException($"a pack of {alone} bytes does not hold a blob of {sealedLength}");
            }

            own.Close();
            return (own, whole);
        }

        while (true)
        {
            OpenPack? full;
            lock (_gate)
            {
                full = _open[(int)type];
                if (full is not null && full.TryReserve(id, sealedLength, uncompressedLength, out var room))
                {
                    return (full, room);
                }
            }

            OpenNext(type, full, codec);
        }
    }

    // Replaces a full pack, unless another encoder was faster.
    private void OpenNext(BlobType type, OpenPack? full, BlobCodec codec)
    {
        if (full is not null && full.Close())
        {
            Finish(full, codec);
        }

        _slots.Wait(_abort.Token);
        lock (_gate)
        {
            if (ReferenceEquals(_open[(int)type], full))
            {
                _open[(int)type] = new OpenPack(
                    type,
                    _buffers.TryTake(out var buffer)
                        ? buffer
                        : GC.AllocateUninitializedArray<byte>(RepositoryLimits.PackLength));
                return;
            }
        }

        _slots.Release();
    }

    private void CloseOpenPacks()
    {
        var codec = _codecs.Rent();
        for (var type = 0; type < _open.Length; type++)
        {
            OpenPack? pack;
            lock (_gate)
            {
                (pack, _open[type]) = (_open[type], null);
            }

            if (pack is not null && pack.Close())
            {
                Finish(pack, codec);
            }
        }

        _codecs.Return(codec);
    }

    private void Finish(OpenPack pack, BlobCodec codec)
    {
        var content = pack.Finish(codec.Cipher, out var id);
        _puts.Add();
        _ = StoreAsync(pack, id, content);
    }

    private async Task StoreAsync(OpenPack pack, BlobId id, ReadOnlyMemory<byte> content)
    {
        try
        {
            await _putGate.WaitAsync(_abort.Token).ConfigureAwait(false);
            try
            {
                await _backend.PutAsync(BackendFileKind.Pack, id.ToString(), content, _abort.Token)
                    .ConfigureAwait(false);
            }
            finally
            {
                _putGate.Release();
            }

            Enter(pack, id);
            if (IsIndexDue())
            {
                await WriteIndexAsync(_abort.Token).ConfigureAwait(false);
            }
        }
#pragma warning disable CA1031 // The task's top: whatever went wrong fails the run, and is thrown to its owner.
        catch (Exception exception)
        {
            Fail(exception);
        }
#pragma warning restore CA1031
        finally
        {
            // Buffers of a common pack are used again; a large tree's is dropped.
            if (pack.TakeBuffer() is { Length: RepositoryLimits.PackLength } buffer)
            {
                _buffers.Add(buffer);
            }

            _slots.Release();
            _puts.Done();
        }
    }

    // The pack is durable: its blobs are stored.
    private void Enter(OpenPack pack, BlobId id)
    {
        _stored.Add(id, pack.Entries);
        lock (_gate)
        {
            foreach (var entry in pack.Entries)
            {
                _claims.Remove((entry.Type, entry.Id));
            }

            _unindexed.Add((id, pack.Entries));
            _unindexedBlobs += pack.Entries.Count;
        }
    }

    private bool IsIndexDue()
    {
        lock (_gate)
        {
            return _unindexed.Count >= RepositoryLimits.MaximumPacksPerIndex
                || _unindexedBlobs >= RepositoryLimits.MaximumBlobsPerIndex
                || _time.GetElapsedTime(_lastIndexAt) >= s_indexInterval;
        }
    }

    // Names the durable packs in an index file; then, and only then, other runs may find their blobs.
    private async Task WriteIndexAsync(CancellationToken cancellationToken)
    {
        await _indexGate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            List<(BlobId Pack, IReadOnlyList<PackEntry> Entries)> packs;
            lock (_gate)
            {
                (packs, _unindexed) = (_unindexed, []);
                _unindexedBlobs = 0;
                _lastIndexAt = _time.GetTimestamp();
            }

            if (packs.Count > 0)
            {
                try
                {
                    await _files.PutJsonAsync(BackendFileKind.Index, IndexFile.Encode(packs), cancellationToken)
                        .ConfigureAwait(false);
                }
                catch
                {
                    // Still unnamed: a later commit of this run must not pass over them.
                    lock (_gate)
                    {
                        _unindexed.InsertRange(0, packs);
                    }

                    throw;
                }

                packs.ForEach(pack => _shared.Add(pack.Pack, pack.Entries));
            }
        }
        finally
        {
            _indexGate.Release();
        }
    }
}
