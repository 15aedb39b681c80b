using Tidemark.Repository.Blobs;

namespace Tidemark.Repository.Snapshots;

/// <summary>What a restore point is to be called and to hold, besides its disks.</summary>
public sealed record SnapshotDescription
{
    /// <summary>The VM's name: a plain file name.</summary>
    public required string VmName { get; init; }

    /// <summary>The instant of which the disks are.</summary>
    public required DateTimeOffset Time { get; init; }

    /// <summary>The restore point that this one continues, if one.</summary>
    public BlobId? Parent { get; init; }

    /// <summary>The host's name; this machine's by default.</summary>
    public string HostName { get; init; } = Environment.MachineName;

    /// <summary>Tags besides <c>tidemark</c> and <c>vm=NAME</c>.</summary>
    public IReadOnlyList<string> Tags { get; init; } = [];

    /// <summary>
    /// Small files by name: <c>tidemark.json</c>, a definition. Their memory is lent until the commit completes.
    /// </summary>
    public IReadOnlyDictionary<string, ReadOnlyMemory<byte>> Files { get; init; } =
        new Dictionary<string, ReadOnlyMemory<byte>>();
}
