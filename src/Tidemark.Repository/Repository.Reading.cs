using System.Buffers;
using Tidemark.Repository.Backends;
using Tidemark.Repository.Blobs;
using Tidemark.Repository.Disks;
using Tidemark.Repository.Indexes;

namespace Tidemark.Repository;

// Blobs and the index.
public sealed partial class Repository
{
    private const int MaximumIndexLoads = 5;

    /// <summary>
    /// Reads a chunk into the caller's memory: decrypted, decompressed, and its digest checked. Where one pack is
    /// damaged and another one holds the same blob, that one is read.
    /// </summary>
    /// <param name="id">The chunk's id.</param>
    /// <param name="target">Memory of the chunk's exact length. Lent until completion; undefined after an
    /// error.</param>
    /// <param name="cancellationToken">Cancels.</param>
    /// <exception cref="RepositoryException">It is not in the repository, or damaged everywhere.</exception>
    public ValueTask ReadChunkAsync(BlobId id, Memory<byte> target, CancellationToken cancellationToken = default) =>
        ReadBlobAsync(BlobType.Data, id, target, cancellationToken);

    /// <summary>Whether the repository has a chunk of a disk, in its right length and in a pack that was there when the
    /// index was loaded. The chunk is not read.</summary>
    public bool HasChunk(DiskIndex disk, int index) =>
        _index.TryFind(BlobType.Data, disk[index], out var location)
            && location.PlaintextLength == disk.LengthOf(index);

    internal async ValueTask ReadBlobAsync(
        BlobType type, BlobId id, Memory<byte> target, CancellationToken cancellationToken)
    {
        await EnsureIndexAsync(cancellationToken).ConfigureAwait(false);
        var error = await TryReadBlobAsync(type, id, target, cancellationToken).ConfigureAwait(false);

        // The index in memory may be old: somebody stored the blob after it was loaded, or pruned and moved it.
        if (error is not null && await RefreshIndexAsync(cancellationToken).ConfigureAwait(false))
        {
            error = await TryReadBlobAsync(type, id, target, cancellationToken).ConfigureAwait(false);
        }

        if (error is not null)
        {
            throw new RepositoryException(error.Kind, error.Message, error);
        }
    }

    // Tries every place where a blob lies; returns the first error if none of them will do.
    private async ValueTask<RepositoryException?> TryReadBlobAsync(
        BlobType type, BlobId id, Memory<byte> target, CancellationToken cancellationToken)
    {
        RepositoryException? first = null;
        for (var place = 0; _index.TryFind(type, id, out var location, place); place++)
        {
            if (location.PlaintextLength != target.Length)
            {
                first ??= new RepositoryException(
                    RepositoryErrorKind.Damaged,
                    $"the blob '{id}' has {location.PlaintextLength} bytes where {target.Length} were expected");
                continue;
            }

            try
            {
                await ReadPlaceAsync(id, location, target, cancellationToken).ConfigureAwait(false);
                return null;
            }
            catch (RepositoryException exception)
            {
                first ??= exception;
            }
        }

        return first ?? MissingBlob(type, id);
    }

    private RepositoryException MissingBlob(BlobType type, BlobId id) => new(
        RepositoryErrorKind.MissingBlob,
        $"the {type.ToString().ToLowerInvariant()} blob '{id}' is in no index of the repository at "
        + $"'{Location}', or its pack "
        + "is missing; run: restic check");

    /// <summary>Reads a whole blob of at most <paramref name="maximumLength"/> bytes.</summary>
    internal async Task<byte[]> ReadWholeBlobAsync(
        BlobType type, BlobId id, int maximumLength, CancellationToken cancellationToken)
    {
        await EnsureIndexAsync(cancellationToken).ConfigureAwait(false);
        if (!_index.TryFind(type, id, out var location))
        {
            await RefreshIndexAsync(cancellationToken).ConfigureAwait(false);
            if (!_index.TryFind(type, id, out location))
            {
                throw MissingBlob(type, id);
            }
        }

        if (location.PlaintextLength < 0 || location.PlaintextLength > maximumLength)
        {
            throw new RepositoryException(
                RepositoryErrorKind.NotSupported,
                $"the {type} blob '{id}' has {location.PlaintextLength} bytes, more than {maximumLength}");
        }

        var content = GC.AllocateUninitializedArray<byte>((int)location.PlaintextLength);
        await ReadBlobAsync(type, id, content, cancellationToken).ConfigureAwait(false);
        return content;
    }

    /// <summary>Loads the index if it was not loaded.</summary>
    internal async Task EnsureIndexAsync(CancellationToken cancellationToken)
    {
        if (!Volatile.Read(ref _indexLoaded))
        {
            await RefreshIndexAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Loads what is new in the index; all of it again if index files were removed. False: nothing
    /// new.</summary>
    internal async Task<bool> RefreshIndexAsync(CancellationToken cancellationToken)
    {
        await _indexGate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            for (var attempt = 1; ; attempt++)
            {
                try
                {
                    return await LoadIndexAsync(cancellationToken).ConfigureAwait(false);
                }
                catch (RepositoryException exception)
                    when (exception.Kind == RepositoryErrorKind.NotFound && attempt < MaximumIndexLoads)
                {
                    // An index file was replaced (restic prune, rebuild-index) between the listing and the reading.
                }
            }
        }
        finally
        {
            _indexGate.Release();
        }
    }

    private async Task<bool> LoadIndexAsync(CancellationToken cancellationToken)
    {
        var listed = await Backend.ListAsync(BackendFileKind.Index, cancellationToken).ConfigureAwait(false);
        var names = listed.Select(static file => file.Name).ToHashSet();
        var target = _index;
        var loaded = new HashSet<string>(_indexFiles);
        if (!loaded.IsSubsetOf(names))
        {
            // Files were removed, and with them perhaps packs: what is in memory cannot be trusted any more.
            target = new BlobIndex();
            loaded.Clear();
        }

        var changed = !ReferenceEquals(target, _index);
        foreach (var name in names.Except(loaded))
        {
            var json = await Files.GetJsonAsync(BackendFileKind.Index, name, cancellationToken).ConfigureAwait(false);
            IndexFile.Decode(json.Span, Files.Describe(BackendFileKind.Index, name), target.Add);
            changed = true;
        }

        _index = target;
        _indexFiles.Clear();
        _indexFiles.UnionWith(names);
        Volatile.Write(ref _indexLoaded, true);
        return changed;
    }

    /// <summary>Reads a blob from one place, and checks its digest.</summary>
    internal async ValueTask ReadPlaceAsync(
        BlobId id, BlobLocation location, Memory<byte> target, CancellationToken cancellationToken)
    {
        var length = (int)Math.Min(location.SealedLength, int.MaxValue);
        var message = ArrayPool<byte>.Shared.Rent(length);
        var codec = _codecs.Rent();
        try
        {
            await Backend.GetAsync(
                BackendFileKind.Pack, location.Pack.ToString(), location.Offset, message.AsMemory(0, length),
                cancellationToken)
                .ConfigureAwait(false);
            var wrong = codec.Open(message.AsSpan(0, length), location.IsCompressed, target.Span)
                ?? (BlobId.Of(target.Span) == id ? null : "its content does not fit its name");
            if (wrong is not null)
            {
                throw new RepositoryException(
                    RepositoryErrorKind.Damaged,
                    $"the blob '{id}' at offset {location.Offset} of "
                    + $"{Files.Describe(BackendFileKind.Pack, location.Pack.ToString())} "
                    + $"is damaged: {wrong}. Run: restic check --read-data");
            }
        }
        catch (RepositoryException exception) when (exception.Kind == RepositoryErrorKind.NotFound)
        {
            throw new RepositoryException(
                RepositoryErrorKind.MissingBlob,
                $"the blob '{id}' is lost: {Files.Describe(BackendFileKind.Pack, location.Pack.ToString())} is missing",
                exception);
        }
        finally
        {
            _codecs.Return(codec);
            ArrayPool<byte>.Shared.Return(message);
        }
    }
}
