namespace Tidemark.Backup.Planning;

/// <summary>
/// What takes back one effect of a run. Undoing is idempotent: what is not there (any more) counts as undone, so the
/// same list serves the end of a good run, a failed run, and the clean-up after a killed one.
/// </summary>
public abstract record UndoAction
{
    private protected UndoAction()
    {
    }

    /// <summary>Cancels the job if it still runs, waits for its end, dismisses it.</summary>
    /// <param name="JobId">The job's id.</param>
    public sealed record Job(string JobId) : UndoAction;

    /// <summary>Removes an export and waits until it is gone.</summary>
    /// <param name="Id">The export's id.</param>
    public sealed record Export(string Id) : UndoAction;

    /// <summary>Stops the hypervisor's NBD server that the run started.</summary>
    /// <param name="Address">Where it listens.</param>
    public sealed record NbdServer(NbdAddress Address) : UndoAction;

    /// <summary>Removes a node.</summary>
    /// <param name="Name">The node's name.</param>
    public sealed record Node(string Name) : UndoAction;

    /// <summary>Removes a bitmap that only the run needed.</summary>
    /// <param name="NodeName">Its node.</param>
    /// <param name="Name">Its name.</param>
    public sealed record TemporaryBitmap(string NodeName, string Name) : UndoAction;

    /// <summary>Removes a new checkpoint's bitmap, unless the run succeeded.</summary>
    /// <param name="NodeName">Its node.</param>
    /// <param name="Name">Its name.</param>
    public sealed record CheckpointBitmap(string NodeName, string Name) : UndoAction;

    /// <summary>Deletes a file on this machine whose name nobody else would take: the run's id is in it, or it lies in
    /// the state directory.</summary>
    /// <param name="Path">Its full path.</param>
    public sealed record LocalFile(string Path) : UndoAction;

    /// <summary>Deletes the socket of the hypervisor's NBD server, unless somebody listens there.</summary>
    /// <param name="Path">Its full path.</param>
    public sealed record ServerSocket(string Path) : UndoAction;

    /// <summary>Deletes a scratch file on this machine, unless another file has its name by now.</summary>
    /// <param name="Path">Its full path.</param>
    /// <param name="Identity">Which file it is; null when it was not made for certain: then it is deleted only if it is
    /// empty.</param>
    public sealed record ScratchFile(string Path, FileIdentity? Identity = null) : UndoAction;

    /// <summary>Removes an object of the hypervisor, for example the TLS certificates of its NBD server.</summary>
    /// <param name="Id">The object's id.</param>
    public sealed record ServerObject(string Id) : UndoAction;

    /// <summary>Deletes a backup's target file on this machine, unless the backup succeeded or another file has its
    /// name by now.</summary>
    /// <param name="Path">Its full path.</param>
    /// <param name="Identity">As of a scratch file.</param>
    public sealed record TargetFile(string Path, FileIdentity? Identity = null) : UndoAction;

    /// <summary>Deletes the new checkpoint's definition on this machine, unless the backup succeeded.</summary>
    /// <param name="Path">Its full path.</param>
    public sealed record CheckpointFile(string Path) : UndoAction;

    /// <summary>Deletes a directory on this machine, which must hold nothing but sockets by then.</summary>
    /// <param name="Path">Its full path.</param>
    public sealed record LocalDirectory(string Path) : UndoAction;
}
