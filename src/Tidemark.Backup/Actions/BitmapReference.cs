namespace Tidemark.Backup.Actions;

/// <summary>A bitmap on a node.</summary>
/// <param name="Node">The node's name.</param>
/// <param name="Name">The bitmap's name.</param>
public sealed record BitmapReference(string Node, string Name);
