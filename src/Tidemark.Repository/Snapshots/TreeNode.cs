using Tidemark.Repository.Blobs;

namespace Tidemark.Repository.Snapshots;

/// <summary>One entry of a directory.</summary>
internal sealed record TreeNode
{
    /// <summary>Its name.</summary>
    internal required string Name { get; init; }

    /// <summary><c>file</c>, <c>dir</c>, or another type that is read over.</summary>
    internal required string Type { get; init; }

    /// <summary>Its length in bytes, for a file.</summary>
    internal long Size { get; init; }

    /// <summary>The blobs of a file in order; null when they were not asked for or there are none.</summary>
    internal ReadOnlyMemory<BlobId>? Content { get; init; }

    /// <summary>The tree of a directory.</summary>
    internal BlobId? Subtree { get; init; }
}
