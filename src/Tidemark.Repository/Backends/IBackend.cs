namespace Tidemark.Repository.Backends;

/// <summary>
/// Where a repository's files lie. Files are written once, whole, and never changed: there is no operation that could.
/// </summary>
/// <remarks>
/// Thread-safe. Buffers are lent until the returned task completes. Failures are <see cref="RepositoryException"/>s:
/// a file that is not there is <see cref="RepositoryErrorKind.NotFound"/>, a full storage
/// <see cref="RepositoryErrorKind.NoSpace"/>, everything else <see cref="RepositoryErrorKind.Io"/>.
/// </remarks>
public interface IBackend
{
    /// <summary>Where the repository is, for messages.</summary>
    string Location { get; }

    /// <summary>Prepares an empty place for a repository; does nothing where one is prepared already.</summary>
    ValueTask CreateAsync(CancellationToken cancellationToken = default);

    /// <summary>
    /// Stores a file if its name is free. True: it is stored, whole and durable (it survives a power cut). False: the
    /// name was taken, and nothing was changed. On an error no file of that name is left by this call.
    /// </summary>
    ValueTask<bool> PutAsync(
        BackendFileKind kind, string name, ReadOnlyMemory<byte> content, CancellationToken cancellationToken = default);

    /// <summary>The length of a file in bytes, or null when there is none of that name.</summary>
    ValueTask<long?> GetLengthAsync(BackendFileKind kind, string name, CancellationToken cancellationToken = default);

    /// <summary>Fills <paramref name="target"/> with the file's bytes from <paramref name="offset"/>, or
    /// fails.</summary>
    ValueTask GetAsync(
        BackendFileKind kind,
        string name,
        long offset,
        Memory<byte> target,
        CancellationToken cancellationToken = default);

    /// <summary>All files of a kind, in no order. Files that were not completely stored are not among them.</summary>
    ValueTask<IReadOnlyList<BackendFile>> ListAsync(
        BackendFileKind kind, CancellationToken cancellationToken = default);

    /// <summary>Removes a file; one that is not there is fine.</summary>
    ValueTask DeleteAsync(BackendFileKind kind, string name, CancellationToken cancellationToken = default);

    /// <summary>
    /// Removes what puts that were killed left behind. Only for a caller who knows that nobody else is writing.
    /// </summary>
    ValueTask RemoveLeftoversAsync(CancellationToken cancellationToken = default);
}
