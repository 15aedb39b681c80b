using Tidemark.Repository.Backends;
using Tidemark.Repository.Blobs;
using Tidemark.Repository.Crypto;
using Tidemark.Repository.Indexes;
using Tidemark.Repository.Locks;
using Tidemark.Repository.Packs;

namespace Tidemark.Repository;

/// <summary>
/// A restic repository of format version 2 (restic, <c>doc/design.rst</c>): deduplicated, compressed, encrypted,
/// written once. docs/formats/repository.md says what Tidemark puts into one.
/// </summary>
/// <remarks>
/// Thread-safe. Failures are <see cref="RepositoryException"/>s. A restore point is written through
/// <see cref="BeginSnapshotAsync"/>; reading takes no lock by itself, so a long read takes one with
/// <see cref="LockAsync"/>, lest a prune removes what is being read.
/// </remarks>
public sealed partial class Repository : IAsyncDisposable
{
    private readonly BlobCodecPool _codecs;
    private readonly SemaphoreSlim _indexGate = new(1);

    // Guarded by _indexGate; _index itself may be read at any time.
    private readonly HashSet<string> _indexFiles = [];
    private volatile BlobIndex _index = new();
    private bool _indexLoaded;

    private Repository(IBackend backend, RepositoryConfig config, RepositoryKey key, RepositoryOptions options)
    {
        Backend = backend;
        Id = config.Id;
        Options = options;
        _codecs = new BlobCodecPool(key, options.CompressionLevel);
        Files = new FileStore(backend, _codecs);
    }

    /// <summary>The repository's id: 64 hexadecimal digits, the same wherever it is copied.</summary>
    public string Id { get; }

    /// <summary>Where it is, for messages.</summary>
    public string Location => Backend.Location;

    internal IBackend Backend { get; }

    internal RepositoryOptions Options { get; }

    internal FileStore Files { get; }

    internal BlobCodecPool Codecs => _codecs;

    internal BlobIndex Index => _index;

    /// <summary>Creates a repository where none is, with one key for <paramref name="password"/>.</summary>
    /// <exception cref="RepositoryException">There is one already, or anything that belongs to one.</exception>
    public static async Task<Repository> InitializeAsync(
        IBackend backend,
        string password,
        RepositoryOptions? options = null,
        CancellationToken cancellationToken = default)
    {
        options ??= new RepositoryOptions();
        CheckPassword(password);
        if (await backend.GetLengthAsync(BackendFileKind.Config, "config", cancellationToken)
            .ConfigureAwait(false) is not null)
        {
            throw AlreadyExists(backend);
        }

        if ((await backend.ListAsync(BackendFileKind.Key, cancellationToken).ConfigureAwait(false)).Count > 0)
        {
            throw new RepositoryException(
                RepositoryErrorKind.AlreadyExists,
                $"'{backend.Location}' has key files but no config: a repository lost its config, or its creation was "
                + "interrupted. Nothing was changed; restore the config, or remove the directory if it holds "
                + "nothing of value");
        }

        await backend.CreateAsync(cancellationToken).ConfigureAwait(false);
        var key = RepositoryKey.Generate();
        var keyFile = KeyFile.Encode(
            key,
            password,
            options.KeyDerivation,
            Environment.MachineName,
            Environment.UserName,
            options.TimeProvider.GetUtcNow());
        var keyName = BlobId.Of(keyFile).ToString();
        await backend.PutAsync(BackendFileKind.Key, keyName, keyFile, cancellationToken).ConfigureAwait(false);

        // The config comes last and makes it a repository; of two that are at it, one loses, and takes its key away.
        var config = RepositoryConfig.Generate();
        using var cipher = new BlobCipher(key);
        var json = config.Encode();
        var content = new byte[json.Length + BlobCipher.Overhead];
        cipher.Seal(json, content);
        if (!await backend.PutAsync(BackendFileKind.Config, "config", content, cancellationToken).ConfigureAwait(false))
        {
            await backend.DeleteAsync(BackendFileKind.Key, keyName, CancellationToken.None).ConfigureAwait(false);
            throw AlreadyExists(backend);
        }

        return new Repository(backend, config, key, options);
    }

    /// <summary>Opens a repository.</summary>
    /// <exception cref="RepositoryException">
    /// There is none (<see cref="RepositoryErrorKind.NotFound"/>), no key opens with this password
    /// (<see cref="RepositoryErrorKind.WrongPassword"/>), a key or the config is damaged, or the version is another
    /// one.
    /// </exception>
    public static async Task<Repository> OpenAsync(
        IBackend backend,
        string password,
        RepositoryOptions? options = null,
        CancellationToken cancellationToken = default)
    {
        options ??= new RepositoryOptions();
        CheckPassword(password);
        var length = await backend.GetLengthAsync(BackendFileKind.Config, "config", cancellationToken)
            .ConfigureAwait(false)
            ?? throw new RepositoryException(
                RepositoryErrorKind.NotFound,
                $"there is no repository at '{backend.Location}': it has no file 'config'");
        var where = $"the config of the repository at '{backend.Location}'";
        if (length is < BlobCipher.Overhead or > RepositoryLimits.MaximumKeyFileLength)
        {
            throw new RepositoryException(RepositoryErrorKind.Damaged, $"{where} is damaged: it has {length} bytes");
        }

        var content = new byte[length];
        await backend.GetAsync(BackendFileKind.Config, "config", 0, content, cancellationToken).ConfigureAwait(false);
        var key = await FindKeyAsync(backend, password, cancellationToken).ConfigureAwait(false);
        using var cipher = new BlobCipher(key);
        var json = new byte[length - BlobCipher.Overhead];
        if (!cipher.TryOpen(content, json))
        {
            throw new RepositoryException(
                RepositoryErrorKind.Damaged,
                $"{where} is damaged: its authentication code is wrong. Restore the file from a copy of the "
                + "repository");
        }

        return new Repository(backend, RepositoryConfig.Decode(json, backend.Location), key, options);
    }

    /// <summary>Takes a non-exclusive lock: until it is disposed of, nobody prunes.</summary>
    /// <exception cref="RepositoryException">Somebody holds an exclusive lock.</exception>
    public Task<RepositoryLock> LockAsync(CancellationToken cancellationToken = default) =>
        RepositoryLock.AcquireAsync(Backend, Files, Options, cancellationToken);

    /// <inheritdoc/>
    public ValueTask DisposeAsync()
    {
        _codecs.Dispose();
        _indexGate.Dispose();
        return default;
    }

    // Tries the password on every key file.
    private static async Task<RepositoryKey> FindKeyAsync(
        IBackend backend, string password, CancellationToken cancellationToken)
    {
        var names = await backend.ListAsync(BackendFileKind.Key, cancellationToken).ConfigureAwait(false);
        RepositoryException? damaged = null;
        foreach (var file in names.OrderBy(static file => file.Name).Take(RepositoryLimits.MaximumKeys))
        {
            var where = $"the key file '{file.Name}' of the repository at '{backend.Location}'";
            try
            {
                if (file.Length > RepositoryLimits.MaximumKeyFileLength)
                {
                    throw new RepositoryException(RepositoryErrorKind.Damaged, $"{where} has {file.Length} bytes");
                }

                var content = new byte[file.Length];
                await backend.GetAsync(BackendFileKind.Key, file.Name, 0, content, cancellationToken)
                    .ConfigureAwait(false);
                if (BlobId.Of(content).ToString() != file.Name)
                {
                    throw new RepositoryException(
                        RepositoryErrorKind.Damaged, $"{where} is damaged: its content does not fit its name");
                }

                if (KeyFile.TryOpen(content, password, where) is { } key)
                {
                    return key;
                }
            }
            catch (RepositoryException exception)
            {
                damaged ??= exception;
            }
        }

        throw damaged is not null
            ? new RepositoryException(
                damaged.Kind,
                $"{damaged.Message}; no other key opens with this password. Restore the file from a copy of the "
                + "repository",
                damaged)
            : names.Count == 0
                ? new RepositoryException(
                    RepositoryErrorKind.Damaged, $"the repository at '{backend.Location}' has no key file left")
                : new RepositoryException(
                    RepositoryErrorKind.WrongPassword,
                    $"wrong password for the repository at '{backend.Location}' ({names.Count} keys tried)");
    }

    private static void CheckPassword(string password)
    {
        if (string.IsNullOrEmpty(password))
        {
            throw new RepositoryException(RepositoryErrorKind.Invalid, "the password of a repository cannot be empty");
        }
    }

    private static RepositoryException AlreadyExists(IBackend backend) => new(
        RepositoryErrorKind.AlreadyExists,
        $"there is a repository at '{backend.Location}' already; nothing was changed");
}
