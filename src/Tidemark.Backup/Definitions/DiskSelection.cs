namespace Tidemark.Backup.Definitions;

/// <summary>A disk that was asked for: <c>--disk NAME[=NODE]</c>.</summary>
/// <param name="Name">The disk's name in the repository.</param>
/// <param name="NodeName">The hypervisor's node; null when it is called as the disk.</param>
public sealed record DiskSelection(string Name, string? NodeName = null);
