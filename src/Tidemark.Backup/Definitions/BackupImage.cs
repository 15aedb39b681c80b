namespace Tidemark.Backup.Definitions;

/// <summary>What a backup writes for one disk: the element <c>target</c> of a push, <c>scratch</c> of a
/// pull.</summary>
/// <param name="Path">The full path of the file or device.</param>
public sealed record BackupImage(string Path)
{
    /// <summary>The security labels, in their order.</summary>
    public IReadOnlyList<SecurityLabel> Labels { get; init; } = [];

    /// <summary>How it is to be encrypted; null for plain.</summary>
    public ImageEncryption? Encryption { get; init; }
}
