namespace Tidemark.Qcow2;

/// <summary>What of a new disk, or of the part that a disk grows by, is allocated in advance: QEMU's
/// <c>preallocation</c>.</summary>
public enum Qcow2Preallocation
{
    /// <summary>Nothing.</summary>
    Off,

    /// <summary>The tables, as if everything had been written; the file stays sparse.</summary>
    Metadata,

    /// <summary>The tables, and space of the file system.</summary>
    Falloc,

    /// <summary>The tables, and zeroes written to all clusters.</summary>
    Full,
}
