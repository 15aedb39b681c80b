namespace Tidemark.Qcow2.Metadata;

/// <summary>One L2 table or refcount block in memory, as it stands in the file (big endian).</summary>
internal sealed class CachedTable(long offset, byte[] bytes)
{
    /// <summary>Where the table lies in the file.</summary>
    internal long Offset { get; set; } = offset;

    internal byte[] Bytes { get; } = bytes;

    /// <summary>Whether the file does not have this content durably yet.</summary>
    internal bool IsDirty { get; set; }

    /// <summary>Used since the cache's hand last passed.</summary>
    internal bool IsReferenced { get; set; } = true;
}
