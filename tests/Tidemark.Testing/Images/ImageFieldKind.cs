namespace Tidemark.Testing.Images;

/// <summary>What a field of an image means, so that a mutation can be one that matters.</summary>
public enum ImageFieldKind
{
    /// <summary>A number of entries, clusters, bytes or bits.</summary>
    Count,

    /// <summary>A place in the file.</summary>
    Offset,

    /// <summary>A table entry: an offset with flags.</summary>
    Entry,

    /// <summary>Feature bits and other flags.</summary>
    Flags,

    /// <summary>A refcount.</summary>
    Refcount,

    /// <summary>Bytes: names, compressed data, extensions.</summary>
    Bytes,
}
