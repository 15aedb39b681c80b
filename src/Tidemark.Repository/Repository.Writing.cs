using Tidemark.Repository.Backends;
using Tidemark.Repository.Blobs;
using Tidemark.Repository.Indexes;
using Tidemark.Repository.Locks;
using Tidemark.Repository.Packs;
using Tidemark.Repository.Snapshots;

namespace Tidemark.Repository;

// What stands before a run may store anything.
public sealed partial class Repository
{
    /// <summary>
    /// Begins a restore point: takes a lock, loads the index anew, and makes sure that what the index says is there.
    /// </summary>
    /// <remarks>
    /// <para>1. A non-exclusive lock, so that nobody prunes meanwhile.</para>
    /// <para>2. The index, after the lock: what a prune removed before is not in it.</para>
    /// <para>3. All packs are listed. Blobs of packs that are missing or cut off count as unknown: they are stored
    /// again, never referred to. Each such pack is a <see cref="SnapshotWriter.Warnings">warning</see>.</para>
    /// <para>4. If nobody else holds a lock: packs that no index file names were left by a run that was interrupted.
    /// They are read, checked, and entered in an index file, so that their blobs are not stored again.</para>
    /// </remarks>
    /// <exception cref="RepositoryException">
    /// Locked by a prune (<see cref="RepositoryErrorKind.Locked"/>), or a damaged index file, which the message names.
    /// </exception>
    public async Task<SnapshotWriter> BeginSnapshotAsync(CancellationToken cancellationToken = default)
    {
        var held = await LockAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            var warnings = new List<string>();
            await RefreshIndexAsync(cancellationToken).ConfigureAwait(false);
            await CheckPacksAsync(held, warnings, cancellationToken).ConfigureAwait(false);
            var blobs =
                new BlobWriter(Backend, Files, Index, Codecs, Options.TimeProvider, Math.Max(1, Options.Encoders));
            return new SnapshotWriter(this, held, blobs, warnings);
        }
        catch
        {
            await held.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    private async Task CheckPacksAsync(RepositoryLock held, List<string> warnings, CancellationToken cancellationToken)
    {
        var index = Index;
        var lengths = new Dictionary<BlobId, long>();
        foreach (var file in await Backend.ListAsync(BackendFileKind.Pack, cancellationToken).ConfigureAwait(false))
        {
            lengths[BlobId.Parse(file.Name)] = file.Length;
        }

        foreach (var pack in index.SetExistingPacks(lengths))
        {
            warnings.Add(
                $"{Files.Describe(BackendFileKind.Pack, pack.ToString())} is missing or cut off: what it held "
                + "is stored again "
                + "where this run reads it; older restore points may be damaged. Run: restic check");
        }

        if (held.IsAlone)
        {
            await Backend.RemoveLeftoversAsync(cancellationToken).ConfigureAwait(false);
            var orphans = lengths.Where(pack => !index.HasPack(pack.Key)).ToList();
            await AdoptAsync(orphans, index, warnings, cancellationToken).ConfigureAwait(false);
        }
    }

    private async Task AdoptAsync(
        List<KeyValuePair<BlobId, long>> orphans, BlobIndex index, List<string> warnings,
        CancellationToken cancellationToken)
    {
        foreach (var group in orphans.Chunk(RepositoryLimits.MaximumPacksPerIndex))
        {
            var adopted = new List<(BlobId Pack, IReadOnlyList<PackEntry> Entries)>();
            foreach (var (pack, length) in group)
            {
                try
                {
                    adopted.Add((pack, await ReadPackAsync(pack, length, cancellationToken).ConfigureAwait(false)));
                }
                catch (RepositoryException exception) when (exception.Kind is RepositoryErrorKind.Damaged)
                {
                    warnings.Add($"{exception.Message}; no index names it, and it is not used");
                }
            }

            if (adopted.Count > 0)
            {
                await Files.PutJsonAsync(BackendFileKind.Index, IndexFile.Encode(adopted), cancellationToken)
                    .ConfigureAwait(false);
                adopted.ForEach(pack => index.Add(pack.Pack, pack.Entries));
            }
        }
    }

    // Reads a pack whole, proves that it is what its name says, and returns its entries.
    private async Task<List<PackEntry>> ReadPackAsync(BlobId pack, long length, CancellationToken cancellationToken)
    {
        var where = Files.Describe(BackendFileKind.Pack, pack.ToString());
        var content = await Files.GetWholeAsync(
            BackendFileKind.Pack, pack.ToString(), RepositoryLimits.MaximumAdoptedPack, cancellationToken)
                .ConfigureAwait(false);
        if (length < PackHeader.TrailerLength || BlobId.Of(content) != pack)
        {
            throw new RepositoryException(
                RepositoryErrorKind.Damaged, $"{where} is damaged: its content does not fit its name");
        }

        var headerLength = PackHeader.ReadTrailer(content.AsSpan()[^PackHeader.TrailerLength..], content.Length, where);
        var codec = Codecs.Rent();
        try
        {
            return PackHeader.Read(
                content.AsSpan(content.Length - PackHeader.TrailerLength - headerLength, headerLength),
                codec.Cipher,
                content.Length,
                where);
        }
        finally
        {
            Codecs.Return(codec);
        }
    }
}
