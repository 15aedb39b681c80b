namespace Tidemark.Cli.Sources;

/// <summary>An image at rest: the embedded engine opens it.</summary>
internal sealed record ImageSource(string Path) : BackupSource
{
    /// <summary>The image's format, <c>raw</c> or <c>qcow2</c>; null goes by its first bytes.</summary>
    public string? Format { get; init; }

    /// <summary>The name of an image's one disk.</summary>
    public const string DiskName = "disk0";
}
