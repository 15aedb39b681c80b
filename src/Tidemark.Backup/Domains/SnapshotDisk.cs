namespace Tidemark.Backup.Domains;

/// <summary>One disk of an external snapshot.</summary>
/// <param name="Name">The disk.</param>
/// <param name="IsIncluded">Whether it gets an overlay.</param>
/// <param name="File">The overlay's full path; null for one beside the image.</param>
public sealed record SnapshotDisk(string Name, bool IsIncluded, string? File);
