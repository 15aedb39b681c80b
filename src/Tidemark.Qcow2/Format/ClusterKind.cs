namespace Tidemark.Qcow2.Format;

/// <summary>What an image says of a run of guest bytes.</summary>
public enum ClusterKind : byte
{
    /// <summary>Not in this image: the backing file answers, or zeroes.</summary>
    Unallocated,

    /// <summary>Reads as zeroes; no host cluster.</summary>
    ZeroPlain,

    /// <summary>Reads as zeroes; a host cluster is kept for it.</summary>
    ZeroAllocated,

    /// <summary>A host cluster holds the bytes.</summary>
    Data,

    /// <summary>The bytes are compressed.</summary>
    Compressed,
}
