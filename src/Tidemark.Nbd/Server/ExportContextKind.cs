namespace Tidemark.Nbd.Server;

/// <summary>What a metadata context tells of a range.</summary>
internal enum ExportContextKind
{
    /// <summary><c>base:allocation</c>: holes and zeroes.</summary>
    Allocation,

    /// <summary><c>qemu:allocation-depth</c>: which image of the chain.</summary>
    AllocationDepth,

    /// <summary><c>qemu:dirty-bitmap:NAME</c>: dirty or clean.</summary>
    DirtyBitmap,
}
