namespace Tidemark.Backup.Graph;

/// <summary>A disk that was found, or asked for.</summary>
/// <param name="Name">The disk's name in the repository.</param>
/// <param name="Node">The disk's own node: the active layer, below every filter.</param>
public sealed record DiskRoot(string Name, GraphNode Node);
