namespace Tidemark.Backup.Definitions;

/// <summary>A checkpoint: libvirt's <c>domaincheckpoint</c>.</summary>
public sealed record CheckpointDefinition
{
    /// <summary>The name; null while it has not been decided.</summary>
    public string? Name { get; init; }

    /// <summary>What the user says about it, or null.</summary>
    public string? Description { get; init; }

    /// <summary>When it was made, in seconds since 1970; null while it has not been.</summary>
    public long? CreationTime { get; init; }

    /// <summary>The checkpoint before it, or null.</summary>
    public string? Parent { get; init; }

    /// <summary>The disks, in their order; null when the XML had no such list, which means all.</summary>
    public IReadOnlyList<CheckpointDisk>? Disks { get; init; }

    /// <summary>The virtual machine's own XML, carried through as it was; null when there is none.</summary>
    public string? Domain { get; init; }

    /// <summary>Whether a text can be a checkpoint's name: letters, digits, <c>_</c>, <c>-</c> and <c>.</c>, no leading
    /// dot.</summary>
    public static bool IsName(string text) =>
        text.Length > 0 && text[0] != '.'
        && text.All(character => char.IsAsciiLetterOrDigit(character) || character is '_' or '-' or '.');
}
