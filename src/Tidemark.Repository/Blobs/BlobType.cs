namespace Tidemark.Repository.Blobs;

/// <summary>The two types of blobs (restic, doc/design.rst, "Pack Format").</summary>
internal enum BlobType : byte
{
    /// <summary>Bytes of a file: a chunk of a disk.</summary>
    Data = 0,

    /// <summary>A directory, as JSON.</summary>
    Tree = 1,
}
