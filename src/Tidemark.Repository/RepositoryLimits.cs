namespace Tidemark.Repository;

/// <summary>Every bound of the repository, by name. Lengths are bytes.</summary>
public static class RepositoryLimits
{
    /// <summary>The smallest chunk of a disk.</summary>
    public const int MinimumChunkSize = 64 << 10;

    /// <summary>The largest chunk of a disk, as large as restic's largest.</summary>
    public const int MaximumChunkSize = 8 << 20;

    /// <summary>The chunk size where nothing else is asked for.</summary>
    public const int DefaultChunkSize = 1 << 20;

    /// <summary>The most chunks of one disk: 4 TiB of 1 MiB chunks, 32 TiB of 8 MiB chunks.</summary>
    public const int MaximumDiskChunks = 1 << 22;

    /// <summary>The most disks of one restore point.</summary>
    public const int MaximumDisks = 256;

    /// <summary>The longest small file (tidemark.json, a definition) of a restore point, and of a file read
    /// whole.</summary>
    public const int MaximumSmallFile = 64 << 20;

    /// <summary>The longest tree (a directory as JSON, all chunk ids of all its disks in it).</summary>
    public const int MaximumTreeLength = 1 << 30;

    /// <summary>The longest index, snapshot or lock file, decompressed.</summary>
    public const int MaximumUnpackedLength = 512 << 20;

    /// <summary>The longest key or config file.</summary>
    public const int MaximumKeyFileLength = 64 << 10;

    /// <summary>The most key files that are tried with a password.</summary>
    public const int MaximumKeys = 64;

    /// <summary>The most memory that a key file may ask scrypt to use.</summary>
    public const long MaximumKeyDerivationMemory = 1L << 30;

    /// <summary>The length at which a pack is closed, its header not counted.</summary>
    public const int PackLength = (16 << 20) + (64 << 10);

    /// <summary>The longest header of a pack, as restic has it.</summary>
    public const int MaximumPackHeaderLength = 16 << 20;

    /// <summary>The longest pack that is read whole to be entered in an index: one that holds the longest
    /// tree.</summary>
    public const int MaximumAdoptedPack = MaximumTreeLength + (16 << 20);

    /// <summary>The most packs of one run that are open or being stored at a time; bounds memory.</summary>
    public const int MaximumPacksInFlight = 6;

    /// <summary>The most packs that are being stored at a time.</summary>
    public const int MaximumConcurrentPuts = 3;

    /// <summary>The most bytes of chunks of one run that wait for an encoder.</summary>
    public const int MaximumQueuedBytes = 32 << 20;

    /// <summary>The most packs of one index file.</summary>
    public const int MaximumPacksPerIndex = 256;

    /// <summary>The most blobs of one index file, as restic has it.</summary>
    public const int MaximumBlobsPerIndex = 50_000;

    /// <summary>The bytes of decoded chunks that a <see cref="Disks.SnapshotNode"/> keeps.</summary>
    public const int SnapshotNodeCacheBytes = 64 << 20;

    /// <summary>The fewest digits of a snapshot's prefix.</summary>
    public const int MinimumPrefixLength = 4;
}
