namespace Tidemark.Cli.Demo;

/// <summary>What the demo is to do.</summary>
internal sealed record DemoOptions
{
    /// <summary>The least size of the disk: below it there is nothing to see.</summary>
    public const long MinimumLength = 64L << 20;

    /// <summary>What sizes are multiples of.</summary>
    public const long LengthUnit = 4L << 20;

    /// <summary>The size of the disk in bytes.</summary>
    public long Length { get; init; } = 1L << 30;

    /// <summary>A directory for everything, kept at the end; null for a temporary one.</summary>
    public string? Keep { get; init; }

    /// <summary>The same seed gives the same writes.</summary>
    public ulong Seed { get; init; } = 1;
}
