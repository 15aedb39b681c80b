using Tidemark.Backup.Definitions;
using Tidemark.Backup.Planning;

namespace Tidemark.Backup.Running;

/// <summary>What steps do on this machine.</summary>
internal static class LocalEffects
{
    /// <summary>Refuses a path where something is.</summary>
    /// <exception cref="BackupException">Something is there.</exception>
    internal static void RefuseExisting(string path)
    {
        if (Path.Exists(path))
        {
            throw new BackupException(
                BackupErrorKind.Request,
                $"'{path}' exists already: name another file, or let it be used as it is with --reuse-external");
        }
    }

    /// <summary>Refuses a path for the hypervisor's socket where somebody listens, or where something else is: a
    /// hypervisor that begins to listen there removes it without a question. The socket of a server that is gone may
    /// be replaced.</summary>
    /// <exception cref="BackupException">The path is somebody's.</exception>
    internal static void RefuseTaken(string path)
    {
        if (FileStatus.Read(path) is not { } status)
        {
            return;
        }

        if (!status.IsSocket)
        {
            throw new BackupException(
                BackupErrorKind.Request,
                $"'{path}' is no socket, and the hypervisor would put its own in its place: name another path");
        }

        if (FileRemoval.IsAnswered(path))
        {
            throw new BackupException(
                BackupErrorKind.Request,
                $"somebody listens at '{path}' already, and the hypervisor would take the path from them: name "
                    + "another one; or, if it is the hypervisor's own NBD server, say so with --nbd-running");
        }
    }

    /// <summary>Creates an empty file that only its owner may read or write.</summary>
    /// <param name="path">Its full path; what exists is refused.</param>
    /// <param name="likePath">Whose owner it gets, if this process may give files away and that file is here.</param>
    /// <returns>Which file it is.</returns>
    /// <exception cref="FileNotMadeException">It exists, or cannot be made; then nothing was made.</exception>
    internal static FileIdentity CreateFile(string path, string likePath)
    {
        FileIdentity identity;
        try
        {
            using (new FileStream(path, new FileStreamOptions
            {
                Mode = FileMode.CreateNew,
                Access = FileAccess.Write,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            }))
            {
                identity = FileStatus.Read(path)?.Identity
                    ?? throw new IOException("it was gone as soon as it was made");
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new FileNotMadeException($"could not create '{path}': {exception.Message}", exception);
        }

        FileOwner.Copy(likePath, path);
        return identity;
    }

    /// <summary>Makes a directory that only its owner may enter.</summary>
    /// <exception cref="BackupException">It cannot be made.</exception>
    internal static void MakeDirectory(string path)
    {
        try
        {
            Directory.CreateDirectory(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new BackupException(BackupErrorKind.State, $"could not make '{path}': {exception.Message}",
                exception);
        }
    }

    /// <summary>Takes the name of a scratch file away.</summary>
    /// <remarks>What cannot be unlinked now could not be removed at the end either. Nothing is frozen yet, so this is
    /// the time to say so.</remarks>
    /// <exception cref="BackupException">It cannot.</exception>
    internal static void Unlink(string path)
    {
        try
        {
            if (!File.Exists(path))
            {
                throw new BackupException(
                    BackupErrorKind.Hypervisor,
                    $"the hypervisor made the scratch file '{path}', but it cannot be seen from here: the hypervisor's "
                        + "files are on another host, or in another container. It is empty; remove it there, and use "
                        + "--mode push");
            }

            File.Delete(path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new BackupException(
                BackupErrorKind.State,
                $"could not unlink the scratch file '{path}': {exception.Message}. Run the backup as a user who may "
                    + "write there, or use --mode push",
                exception);
        }
    }
}
