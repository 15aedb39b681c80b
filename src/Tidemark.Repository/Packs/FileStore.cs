using Tidemark.Repository.Backends;
using Tidemark.Repository.Blobs;

namespace Tidemark.Repository.Packs;

/// <summary>Reads and writes whole sealed files: indexes, snapshots, locks. Thread-safe.</summary>
internal sealed class FileStore(IBackend backend, BlobCodecPool codecs)
{
    // Sealed and compressed a file is at most little longer than its JSON.
    private const long MaximumFileLength = RepositoryLimits.MaximumUnpackedLength + (1L << 20);

    /// <summary>What to call a file in messages.</summary>
    internal string Describe(BackendFileKind kind, string name) =>
        $"the {kind.ToString().ToLowerInvariant()} file '{name}' of the repository at '{backend.Location}'";

    /// <summary>Compresses, seals, names and stores JSON, durably.</summary>
    internal async Task<BlobId> PutJsonAsync(
        BackendFileKind kind, ReadOnlyMemory<byte> json, CancellationToken cancellationToken)
    {
        var codec = codecs.Rent();
        var content = codec.SealFile(json.Span);

        // Write, then prove: a file that could not be read back must not become the only record of anything.
        var proof = codec.OpenFile(content.AsSpan().ToArray(), "the new file");
        codecs.Return(codec);
        if (!proof.Span.SequenceEqual(json.Span))
        {
            throw new RepositoryException(
                RepositoryErrorKind.Damaged, $"a new {kind} file does not read back as it was written; "
                + "the memory of this machine may be faulty. Nothing was stored");
        }

        var id = BlobId.Of(content);
        await backend.PutAsync(kind, id.ToString(), content, cancellationToken).ConfigureAwait(false);
        return id;
    }

    /// <summary>Reads a file, checks its name and opens it.</summary>
    /// <exception cref="RepositoryException">It is not there, or damaged.</exception>
    internal async Task<ReadOnlyMemory<byte>> GetJsonAsync(
        BackendFileKind kind, string name, CancellationToken cancellationToken)
    {
        var where = Describe(kind, name);
        var content = await GetWholeAsync(kind, name, MaximumFileLength, cancellationToken).ConfigureAwait(false);
        if (BlobId.Of(content).ToString() != name)
        {
            throw new RepositoryException(
                RepositoryErrorKind.Damaged, $"{where} is damaged: its content does not fit its name. {Advice(kind)}");
        }

        var codec = codecs.Rent();
        try
        {
            return codec.OpenFile(content, where);
        }
        finally
        {
            codecs.Return(codec);
        }
    }

    /// <summary>Reads a whole file of at most <paramref name="maximumLength"/> bytes, as it is.</summary>
    internal async Task<byte[]> GetWholeAsync(
        BackendFileKind kind, string name, long maximumLength, CancellationToken cancellationToken)
    {
        var length = await backend.GetLengthAsync(kind, name, cancellationToken).ConfigureAwait(false)
            ?? throw new RepositoryException(RepositoryErrorKind.NotFound, $"{Describe(kind, name)} does not exist");
        if (length > maximumLength)
        {
            throw new RepositoryException(
                RepositoryErrorKind.Damaged, $"{Describe(kind, name)} has {length} bytes, more than {maximumLength}");
        }

        var content = new byte[length];
        await backend.GetAsync(kind, name, 0, content, cancellationToken).ConfigureAwait(false);
        return content;
    }

    /// <summary>What to do about a damaged file.</summary>
    internal static string Advice(BackendFileKind kind) => kind switch
    {
        BackendFileKind.Index => "Run: restic rebuild-index",
        BackendFileKind.Lock => "If nothing else uses the repository, run: restic unlock --remove-all",
        BackendFileKind.Snapshot => "This restore point is lost; delete the file, and run: restic check",
        _ => "Restore the file from a copy of the repository",
    };
}
