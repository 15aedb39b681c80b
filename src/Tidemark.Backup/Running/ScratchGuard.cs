// Keeps a full scratch from failing a guest's write, at a hypervisor that cannot be told to give up the backup instead.
//
//   before anything   each scratch directory is here and has the floor free, or nothing is begun
//   between commands  nobody watches a domain's pull that nobody follows; each command that comes along looks once, and
//                     ends it if there is too little
//   frozen            free space is looked at every few milliseconds; too little, and the run is given up while the
//                     scratch still takes what the guest overwrites
//
// Too little is: less than the floor, and what would be written at the speed last seen until the jobs have ended. The
// scratch file has no name any more, but it lies on the file system of its directory, whose free space is what counts:
// whoever fills it, it is the scratch that would not grow.
//
// What this cannot see: a quota, an I/O error, a writer that fills the rest between two looks. The plan says so.

using Tidemark.Backup.Definitions;
using Tidemark.Backup.Journal;

namespace Tidemark.Backup.Running;

/// <summary>Watches the free space of the scratch's file systems.</summary>
internal sealed class ScratchGuard
{
    private readonly IReadOnlyList<string> _directories;
    private readonly long _floor;
    private readonly TimeProvider _time;
    private readonly Func<string, long> _freeBytes;

    /// <summary>Creates a guard.</summary>
    /// <param name="directories">Where the scratch files lie.</param>
    /// <param name="floor">The free bytes under which it gives up; zero for a hypervisor that needs no guard.</param>
    /// <param name="time">The clock.</param>
    /// <param name="freeBytes">Asks for the free bytes at a directory; null for the file system's own answer.</param>
    internal ScratchGuard(
        IReadOnlyList<string> directories, long floor, TimeProvider time, Func<string, long>? freeBytes = null)
    {
        _directories = directories;
        _floor = floor;
        _time = time;
        _freeBytes = freeBytes ?? (static directory => new DriveInfo(directory).AvailableFreeSpace);
    }

    /// <summary>The guard of a backup that runs; null when there is nothing to guard against.</summary>
    /// <param name="job">The backup.</param>
    /// <param name="breaksSnapshot">Whether the hypervisor gives up the backup rather than a guest's write.</param>
    /// <param name="time">The clock.</param>
    internal static ScratchGuard? Of(JournalJob job, bool breaksSnapshot, TimeProvider time) =>
        job.Mode != BackupMode.Pull || breaksSnapshot
            ? null
            : new ScratchGuard(
                [
                    .. job.Disks.Select(disk => Path.GetDirectoryName(disk.Target)).OfType<string>()
                        .Where(Directory.Exists).Distinct(),
                ],
                BackupLimits.ScratchFloor,
                time);

    /// <summary>Looks once.</summary>
    /// <returns>Why the run must be given up at once; null when there is room.</returns>
    internal BackupException? Look()
    {
        try
        {
            foreach (var directory in _directories)
            {
                if (FreeBytes(directory) is var free && free < _floor)
                {
                    return Low(directory, free);
                }
            }

            return null;
        }
        catch (BackupException exception)
        {
            return exception;
        }
    }

    /// <summary>Whether there is anything to watch.</summary>
    internal bool IsNeeded => _floor > 0;

    /// <summary>Checks, before anything is done.</summary>
    /// <exception cref="BackupException">A directory is not here, or too little is free.</exception>
    internal void Check()
    {
        foreach (var directory in _directories)
        {
            if (!Directory.Exists(directory))
            {
                throw new BackupException(
                    BackupErrorKind.Request,
                    $"the scratch directory '{directory}' does not exist on this host, or cannot be entered: what the "
                        + "hypervisor would make there could not be removed. Run the backup where the hypervisor's "
                        + "files "
                        + "are, or use --mode push");
            }

            if (IsNeeded && FreeBytes(directory) is var free && free < _floor)
            {
                throw new BackupException(
                    BackupErrorKind.Request,
                    $"'{directory}' has {free} bytes free: a pull needs at least {_floor} there for the scratch, or a "
                        + "guest's write could fail. Make room, or use --mode push");
            }
        }
    }

    /// <summary>Watches until it is cancelled.</summary>
    /// <returns>Why the run must be given up at once; null when the watch was cancelled.</returns>
    internal async Task<BackupException?> WatchAsync(CancellationToken cancellationToken)
    {
        try
        {
            var last = _directories.Select(FreeBytes).ToArray();
            var lastTime = _time.GetTimestamp();
            while (true)
            {
                await Task.Delay(BackupLimits.ScratchInterval, _time, cancellationToken).ConfigureAwait(false);
                var elapsed = _time.GetElapsedTime(lastTime);
                lastTime = _time.GetTimestamp();
                for (var index = 0; index < last.Length; index++)
                {
                    var free = FreeBytes(_directories[index]);
                    if (free < _floor + Ahead(last[index] - free, elapsed))
                    {
                        return Low(_directories[index], free);
                    }

                    last[index] = free;
                }
            }
        }
        catch (OperationCanceledException)
        {
            return null;
        }
        catch (BackupException exception)
        {
            return exception;
        }
    }

    // What would be written until the jobs have ended, at the speed of the last interval.
    private static double Ahead(long written, TimeSpan elapsed) => written <= 0
        ? 0
        : written * (BackupLimits.ScratchReaction / (elapsed > TimeSpan.Zero ? elapsed : BackupLimits.ScratchInterval));

    private static BackupException Low(string directory, long free) => new(
        BackupErrorKind.Transfer,
        $"'{directory}' runs full ({free} bytes free): the run was given up before the scratch could fail a guest's "
            + "write. Make room there, or use --mode push");

    private long FreeBytes(string directory)
    {
        try
        {
            return _freeBytes(directory);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new BackupException(
                BackupErrorKind.State,
                $"the free space of '{directory}' cannot be asked for: {exception.Message}",
                exception);
        }
    }
}
