namespace Tidemark.Backup.Graph;

/// <summary>One node of the hypervisor's graph.</summary>
public sealed record GraphNode
{
    /// <summary>The node's name; names that begin with <c>#</c> were made up by the hypervisor.</summary>
    public required string Name { get; init; }

    /// <summary>The driver: <c>qcow2</c>, <c>raw</c>, <c>file</c>, <c>copy-before-write</c>…</summary>
    public required string Driver { get; init; }

    /// <summary>The size of the disk in bytes.</summary>
    public required long VirtualSize { get; init; }

    /// <summary>Whether the node was opened read-only.</summary>
    public bool IsReadOnly { get; init; }

    /// <summary>Whether the hypervisor made the name up (<c>#block123</c>): it is another one at its next
    /// start.</summary>
    public bool HasMadeUpName => IsMadeUp(Name);

    /// <summary>The path of the image's file or device where there is one, otherwise what the hypervisor calls the
    /// image.</summary>
    public string Filename { get; init; } = "";

    /// <summary>The path that the image's header names as its backing file; empty where it names none, whatever lies
    /// below it now.</summary>
    public string BackingFile { get; init; } = "";

    /// <summary>The format's <c>compat</c> level of a qcow2 node: <c>0.10</c> or <c>1.1</c>; null for other
    /// drivers.</summary>
    public string? Compat { get; init; }

    /// <summary>Bytes per cluster; null when the format has none.</summary>
    public long? ClusterSize { get; init; }

    /// <summary>Whether a qcow2 node has subclusters (<c>extended_l2</c>).</summary>
    public bool HasSubclusters { get; init; }

    /// <summary>The image's internal snapshots, in the hypervisor's order.</summary>
    public IReadOnlyList<InternalSnapshot> Snapshots { get; init; } = [];

    /// <summary>The named bitmaps, in the hypervisor's order.</summary>
    public IReadOnlyList<NodeBitmap> Bitmaps { get; init; } = [];

    /// <summary>The <c>backing</c> child's name, when <see cref="Backing"/> is <see cref="NodeLink.Known"/>.</summary>
    public string? BackingNode { get; init; }

    /// <summary>What is known of the backing child.</summary>
    public NodeLink Backing { get; init; }

    /// <summary>The <c>file</c> child's name, when <see cref="File"/> is <see cref="NodeLink.Known"/>.</summary>
    public string? FileNode { get; init; }

    /// <summary>What is known of the file child.</summary>
    public NodeLink File { get; init; }

    /// <summary>Whether a root of the graph (a device, an export) may write to the node; null when nobody
    /// said.</summary>
    public bool? HasWriter { get; init; }

    /// <summary>The bitmap of that name, or null.</summary>
    public NodeBitmap? FindBitmap(string name) => Bitmaps.FirstOrDefault(bitmap => bitmap.Name == name);

    /// <summary>Whether a node's name is one that the hypervisor made up.</summary>
    internal static bool IsMadeUp(string name) => name.StartsWith('#');
}
