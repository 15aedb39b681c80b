using Tidemark.Repository.Blobs;

namespace Tidemark.Repository.Snapshots;

/// <summary>
/// A snapshot of the repository. A restore point of Tidemark's has the tags <c>tidemark</c> and <c>vm=NAME</c>; others
/// were made by restic.
/// </summary>
public sealed record Snapshot
{
    /// <summary>The tag of a restore point.</summary>
    public const string Tag = "tidemark";

    /// <summary>What precedes a VM's name in a tag.</summary>
    public const string VmTagPrefix = "vm=";

    /// <summary>The id: the digest of the snapshot's file.</summary>
    public required BlobId Id { get; init; }

    /// <summary>The instant.</summary>
    public required DateTimeOffset Time { get; init; }

    /// <summary>The snapshot that it continues, if one.</summary>
    public BlobId? Parent { get; init; }

    /// <summary>The root directory.</summary>
    public required BlobId Tree { get; init; }

    /// <summary>The paths: <c>/NAME</c> for a VM.</summary>
    public IReadOnlyList<string> Paths { get; init; } = [];

    /// <summary>The host that made it.</summary>
    public string HostName { get; init; } = "";

    /// <summary>The user who made it.</summary>
    public string UserName { get; init; } = "";

    /// <summary>All tags.</summary>
    public IReadOnlyList<string> Tags { get; init; } = [];

    /// <summary>Whether Tidemark made it.</summary>
    public bool IsRestorePoint => VmName is not null && Tags.Contains(Tag);

    /// <summary>The VM's name, by the tag; null when there is none.</summary>
    public string? VmName => Tags
        .Where(static tag => tag.StartsWith(VmTagPrefix, StringComparison.Ordinal))
        .Select(static tag => tag[VmTagPrefix.Length..])
        .FirstOrDefault();
}
