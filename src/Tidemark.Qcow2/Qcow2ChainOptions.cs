namespace Tidemark.Qcow2;

/// <summary>How a backing chain is opened by file name.</summary>
public sealed record Qcow2ChainOptions
{
    /// <summary>Whether the top image is opened read-only; what lies below always is.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>The top's format, <c>qcow2</c> or <c>raw</c>; null to look at its first bytes.</summary>
    public string? Format { get; init; }

    /// <summary>The top's node name; the nodes below are named after it.</summary>
    public string NodeName { get; init; } = "disk";

    /// <summary>Whether the names of backing files and data files are followed. Off, an image that names one is
    /// refused: a name in a hostile image can be that of any file of the host.</summary>
    public bool FollowNames { get; init; }

    /// <summary>The most memory for the L2 tables of each image.</summary>
    public long MetadataCacheLimit { get; init; } = Qcow2OpenOptions.DefaultMetadataCacheLimit;
}
