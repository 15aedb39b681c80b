namespace Tidemark.Blocks.Nodes;

/// <summary>Which part of its file a <see cref="RawNode"/> is.</summary>
public sealed record RawNodeOptions
{
    /// <summary>Where the disk begins in the file, in bytes.</summary>
    public long Offset { get; init; }

    /// <summary>How long the disk is; null for the rest of the file.</summary>
    public long? Size { get; init; }
}
