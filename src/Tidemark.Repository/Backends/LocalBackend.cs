using System.Security.Cryptography;
using Tidemark.Repository.Blobs;

namespace Tidemark.Repository.Backends;

// A file comes into being in four steps, in this order:
//
//   1. written under a temporary name (NAME-tmp-RANDOM, as restic names them) in its own directory,
//   2. fsync of the file, so that its bytes are durable before its name is,
//   3. renamed without replacing: the name appears at once and whole, or was taken and nothing changes,
//   4. fsync of the directory, so that the name is durable before the put is reported.
//
// A crash before 3 leaves a temporary file, which no listing shows and RemoveLeftovers removes. After 3 the file is
// whole. Any error removes the temporary file.

/// <summary>A repository in a local directory, in restic's default layout (doc/design.rst, "Repository
/// Layout").</summary>
public sealed class LocalBackend : IBackend
{
    private const UnixFileMode DirectoryMode =
        UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
    private const string TemporaryMark = "-tmp-";

    private readonly string _path;

    /// <summary>A repository at <paramref name="path"/>; nothing is touched yet.</summary>
    public LocalBackend(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        _path = Path.GetFullPath(path);
    }

    /// <inheritdoc/>
    public string Location => _path;

    /// <inheritdoc/>
    public ValueTask CreateAsync(CancellationToken cancellationToken = default)
    {
        try
        {
            foreach (var folder in Folders())
            {
                Directory.CreateDirectory(folder, DirectoryMode);
            }

            LinuxDirectory.Sync(Path.Combine(_path, FolderName(BackendFileKind.Pack)));
            LinuxDirectory.Sync(_path);
            LinuxDirectory.Sync(Path.GetDirectoryName(_path) ?? "/");
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw RepositoryException.FromIo(exception, $"create the directories of the repository at '{_path}'");
        }

        return default;
    }

    /// <inheritdoc/>
    /// <remarks>The work is done on a thread of its own, because syncing a pack may take long.</remarks>
    public async ValueTask<bool> PutAsync(
        BackendFileKind kind, string name, ReadOnlyMemory<byte> content, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        return await Task.Factory.StartNew(
            () => Put(FilePath(kind, name), content.Span),
            CancellationToken.None,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public ValueTask<long?> GetLengthAsync(
        BackendFileKind kind, string name, CancellationToken cancellationToken = default)
    {
        var path = FilePath(kind, name);
        try
        {
            var file = new FileInfo(path);
            return ValueTask.FromResult<long?>(file.Exists ? file.Length : null);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw RepositoryException.FromIo(exception, $"look for '{path}'");
        }
    }

    /// <inheritdoc/>
    public ValueTask GetAsync(
        BackendFileKind kind,
        string name,
        long offset,
        Memory<byte> target,
        CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var path = FilePath(kind, name);
        var rest = target.Span;
        try
        {
            using var file =
                File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            while (!rest.IsEmpty)
            {
                var count = RandomAccess.Read(file, rest, offset);
                if (count == 0)
                {
                    throw new RepositoryException(
                        RepositoryErrorKind.Damaged,
                        $"'{path}' ends at {offset}, {rest.Length} bytes too early: it was cut off");
                }

                rest = rest[count..];
                offset += count;
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw RepositoryException.FromIo(exception, $"read {target.Length} bytes at {offset} of '{path}'");
        }

        return default;
    }

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<BackendFile>> ListAsync(
        BackendFileKind kind, CancellationToken cancellationToken = default)
    {
        var files = new List<BackendFile>();
        try
        {
            foreach (var folder in FoldersOf(kind))
            {
                cancellationToken.ThrowIfCancellationRequested();
                foreach (var file in new DirectoryInfo(folder).EnumerateFiles())
                {
                    if (kind == BackendFileKind.Config ? file.Name == "config" : IsName(file.Name))
                    {
                        files.Add(new BackendFile(file.Name, file.Length));
                    }
                }
            }
        }
        catch (DirectoryNotFoundException)
        {
            // A directory that was never created holds no files; restic does not create `locks` before it needs it.
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw RepositoryException.FromIo(exception, $"list the {FolderName(kind)} of the repository at '{_path}'");
        }

        return ValueTask.FromResult<IReadOnlyList<BackendFile>>(files);
    }

    /// <inheritdoc/>
    public ValueTask DeleteAsync(BackendFileKind kind, string name, CancellationToken cancellationToken = default)
    {
        var path = FilePath(kind, name);
        try
        {
            File.Delete(path);
        }
        catch (DirectoryNotFoundException)
        {
            // Nothing there is what was asked for.
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw RepositoryException.FromIo(exception, $"delete '{path}'");
        }

        return default;
    }

    /// <inheritdoc/>
    public ValueTask RemoveLeftoversAsync(CancellationToken cancellationToken = default)
    {
        foreach (var folder in Folders().Where(Directory.Exists))
        {
            cancellationToken.ThrowIfCancellationRequested();
            try
            {
                foreach (var path in Directory.EnumerateFiles(folder, "*" + TemporaryMark + "*"))
                {
                    File.Delete(path);
                }
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                throw RepositoryException.FromIo(exception, $"remove leftovers in '{folder}'");
            }
        }

        return default;
    }

    private static bool Put(string path, ReadOnlySpan<byte> content)
    {
        if (File.Exists(path))
        {
            return false;
        }

        var folder = Path.GetDirectoryName(path)!;
        var temporary = $"{path}{TemporaryMark}{RandomNumberGenerator.GetHexString(16, lowercase: true)}";
        try
        {
            EnsureFolder(folder);
            WriteDurably(temporary, content);
            if (!LinuxDirectory.RenameIfAbsent(temporary, path))
            {
                RemoveTemporary(temporary);
                return false;
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            RemoveTemporary(temporary);
            throw RepositoryException.FromIo(exception, $"write {content.Length} bytes to '{path}'");
        }

        try
        {
            LinuxDirectory.Sync(folder);
        }
        catch (IOException exception)
        {
            // The name may be lost in a power cut; it must not stay as if it were stored.
            RemoveTemporary(path);
            throw RepositoryException.FromIo(exception, $"make the name '{path}' durable");
        }

        return true;
    }

    private static void WriteDurably(string path, ReadOnlySpan<byte> content)
    {
        using var file = new FileStream(path, new FileStreamOptions
        {
            Mode = FileMode.CreateNew,
            Access = FileAccess.Write,
            Share = FileShare.None,
            BufferSize = 0,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
        });
        RandomAccess.Write(file.SafeFileHandle, content, 0);
        RandomAccess.FlushToDisk(file.SafeFileHandle);
        try
        {
            // restic marks its files read-only (0400), against accidents; not every file system has modes.
            File.SetUnixFileMode(file.SafeFileHandle, UnixFileMode.UserRead);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // The file is as good without the mode.
        }
    }

    private static void EnsureFolder(string folder)
    {
        if (!Directory.Exists(folder))
        {
            Directory.CreateDirectory(folder, DirectoryMode);
            LinuxDirectory.Sync(Path.GetDirectoryName(folder)!);
        }
    }

    private static void RemoveTemporary(string path)
    {
        try
        {
            File.Delete(path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // The first error is the one to report; leftovers are removed by a later run.
        }
    }

    private static bool IsName(string name) =>
        name.Length == BlobId.TextLength && BlobId.HasOnlyDigits(name);

    private static string FolderName(BackendFileKind kind) => kind switch
    {
        BackendFileKind.Config => "",
        BackendFileKind.Key => "keys",
        BackendFileKind.Lock => "locks",
        BackendFileKind.Snapshot => "snapshots",
        BackendFileKind.Index => "index",
        BackendFileKind.Pack => "data",
        _ => throw new ArgumentOutOfRangeException(nameof(kind), kind, "no such kind of file"),
    };

    private string FilePath(BackendFileKind kind, string name)
    {
        if (kind == BackendFileKind.Config)
        {
            return Path.Combine(_path, "config");
        }

        if (!IsName(name))
        {
            throw new ArgumentException($"'{name}' is no name of a repository's file", nameof(name));
        }

        return kind == BackendFileKind.Pack
            ? Path.Combine(_path, FolderName(kind), name[..2], name)
            : Path.Combine(_path, FolderName(kind), name);
    }

    private IEnumerable<string> FoldersOf(BackendFileKind kind)
    {
        var folder = Path.Combine(_path, FolderName(kind));
        return kind != BackendFileKind.Pack ? [folder]
            : Directory.Exists(folder) ? Directory.EnumerateDirectories(folder)
            : [];
    }

    private IEnumerable<string> Folders()
    {
        yield return _path;
        foreach (var kind in Enum.GetValues<BackendFileKind>().Where(kind => kind != BackendFileKind.Config))
        {
            yield return Path.Combine(_path, FolderName(kind));
        }

        for (var first = 0; first < 256; first++)
        {
            yield return Path.Combine(_path, FolderName(BackendFileKind.Pack), first.ToString("x2"));
        }
    }
}
