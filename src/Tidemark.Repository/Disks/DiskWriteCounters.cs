namespace Tidemark.Repository.Disks;

/// <summary>What became of a disk's chunks, counted by what each one is now.</summary>
/// <param name="New">Chunks whose content this run stored.</param>
/// <param name="Known">Chunks whose content the repository had already.</param>
/// <param name="Zero">Chunks of zeroes.</param>
/// <param name="Inherited">Chunks that were not read: the parent's id stands.</param>
/// <param name="Undecided">Chunks of which nothing was said yet.</param>
/// <param name="BytesStored">Bytes that this disk's chunks added to packs, compressed and sealed, rewrites
/// included.</param>
public readonly record struct DiskWriteCounters(
    int New, int Known, int Zero, int Inherited, int Undecided, long BytesStored);
