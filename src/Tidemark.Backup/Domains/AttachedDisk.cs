using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;

namespace Tidemark.Backup.Domains;

/// <summary>A disk of a domain.</summary>
public sealed record AttachedDisk
{
    /// <summary>Its name: what <c>&lt;disk name='…'&gt;</c> means.</summary>
    public required string Name { get; init; }

    /// <summary>The active layer, below every filter.</summary>
    public required GraphNode Node { get; init; }

    /// <summary>The node that the guest's device or export uses: the active layer, or a filter over it.</summary>
    public required string RootNode { get; init; }

    /// <summary>What uses it, which stays when the node is replaced by an overlay: <c>device:PATH</c>,
    /// <c>export:ID</c>; null when nothing uses it.</summary>
    public string? RootKey { get; init; }

    /// <summary>Whether the guest cannot write to it.</summary>
    public bool IsReadOnly { get; init; }

    /// <summary>Other names under which it is found: node, device, export, path of the image.</summary>
    public IReadOnlyList<string> Aliases { get; init; } = [];

    /// <summary>The disk as definitions see it.</summary>
    public DomainDisk ToDefinition() => new(Name)
    {
        Path = Node.Filename.StartsWith('/') ? Node.Filename : "",
        Format = Node.Driver,
        Kind = !Node.Filename.StartsWith('/') ? ImageKind.Other
            : Node.Filename.StartsWith("/dev/", StringComparison.Ordinal) ? ImageKind.Block : ImageKind.File,
        IsReadOnly = IsReadOnly,
        NodeName = Node.Name,
    };
}
