namespace Tidemark.Backup.Definitions;

/// <summary>The limits and defaults of backups, by name.</summary>
public static class BackupLimits
{
    /// <summary>Bytes per chunk: 1 MiB.</summary>
    public const int DefaultChunkSize = 1 << 20;

    /// <summary>Bytes per bit of a checkpoint's bitmap: 64 KiB, QEMU's own default.</summary>
    public const long DefaultGranularity = 64 << 10;

    /// <summary>Cluster size of scratch images: what the copy-before-write job copies at least.</summary>
    public const int ScratchClusterSize = 64 << 10;

    /// <summary>Connections to a pull export.</summary>
    public const int PullConnections = 4;

    /// <summary>Chunks that are read, or on their way into the repository, at one time.</summary>
    public const int PullChunksInFlight = 16;

    /// <summary>The range that one request for block status covers.</summary>
    public const long StatusWindow = 256L << 20;

    /// <summary>Chunks that the push target assembles in memory at one time; the oldest is spilled beyond it.</summary>
    public const int OpenChunks = 64;

    /// <summary>
    /// Free bytes of a scratch's file system under which a pull is given up, where a full one would make a guest's
    /// write fail; and without which none is begun.
    /// </summary>
    public const long ScratchFloor = 64L << 20;

    /// <summary>The bytes that a scratch never takes more of, for a disk of a size: every cluster saved, their tables
    /// and refcounts (under one byte in 4096 at <see cref="ScratchClusterSize"/>), and the headers of the image and of
    /// its encryption.</summary>
    public static long LargestScratch(long diskSize) => diskSize + (diskSize / 4096) + (8L << 20);

    /// <summary>Restore points older than the newest that are searched for one whose bitmap is still on the
    /// disk.</summary>
    public const int OlderParents = 8;

    /// <summary>How often the free space of a scratch's file system is looked at.</summary>
    public static readonly TimeSpan ScratchInterval = TimeSpan.FromMilliseconds(50);

    /// <summary>
    /// How long it may take from the look that shows too little space to the end of the jobs; what the guest would
    /// write in that time, at the speed last seen, is kept free besides <see cref="ScratchFloor"/>.
    /// </summary>
    public static readonly TimeSpan ScratchReaction = TimeSpan.FromMilliseconds(500);

    /// <summary>How long a guest's write may wait for its old data to be saved, at a hypervisor that can be told
    /// so.</summary>
    public static readonly TimeSpan GuestPatience = TimeSpan.FromSeconds(30);

    /// <summary>How often a job's state is asked for, whatever its events say.</summary>
    public static readonly TimeSpan JobPollInterval = TimeSpan.FromMilliseconds(250);

    /// <summary>How long a monitor that does not answer is tried while a backup is followed: another command may have
    /// it.</summary>
    public static readonly TimeSpan MonitorPatience = TimeSpan.FromSeconds(5);

    /// <summary>How often a domain's lock is tried while another command holds it.</summary>
    public static readonly TimeSpan LockPollInterval = TimeSpan.FromMilliseconds(20);

    /// <summary>How long one undo action may wait for a job to end or a node to come free.</summary>
    public static readonly TimeSpan UndoTimeout = TimeSpan.FromSeconds(30);

    /// <summary>How long one command of an undo may take before the hypervisor counts as dead.</summary>
    public static readonly TimeSpan UndoCommandTimeout = TimeSpan.FromSeconds(15);
}
