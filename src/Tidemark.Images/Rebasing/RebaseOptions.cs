namespace Tidemark.Images.Rebasing;

/// <summary>What a rebase does.</summary>
public sealed record RebaseOptions
{
    /// <summary>The new backing file's name as it is to stand in the image; empty for none.</summary>
    public required string BackingFile { get; init; }

    /// <summary>Its format; required with a name.</summary>
    public string? BackingFormat { get; init; }

    /// <summary>Whether only the name is changed: the caller knows that the disk stays the same.</summary>
    public bool OnlyName { get; init; }

    /// <summary>Told how far it is, 0 to 1.</summary>
    public Action<double>? Report { get; init; }
}
