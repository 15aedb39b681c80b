namespace Tidemark.Backup.Definitions;

/// <summary>A checkpoint: libvirt's <c>domaincheckpoint</c>.</summary>
public sealed record CheckpointDefinition
{
    /// <summary>The longest name: with what is put behind it, it is a file's name.</summary>
    public const int MaximumNameLength = 247;

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
    /// dot, at most <see cref="MaximumNameLength"/> of them.</summary>
    public static bool IsName(string text) =>
        text.Length is > 0 and <= MaximumNameLength && text[0] != '.'
        && text.All(character => char.IsAsciiLetterOrDigit(character) || character is '_' or '-' or '.');

    /// <summary>Why a text is none.</summary>
    public static string DescribeRefusal(string text) => text.Length > MaximumNameLength
        ? $"'{text[..40]}…' is no checkpoint's name: it has {text.Length} characters, and {MaximumNameLength} are the "
            + "most"
        : $"'{text}' is no checkpoint's name: letters (a to z), digits, '_', '-' and '.', not beginning with '.'";
}
