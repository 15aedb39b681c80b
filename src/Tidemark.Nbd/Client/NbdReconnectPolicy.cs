namespace Tidemark.Nbd.Client;

/// <summary>How a node goes on when a connection is lost.</summary>
public sealed record NbdReconnectPolicy
{
    /// <summary>How long requests wait for a new connection before they fail.</summary>
    public TimeSpan Limit { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>The pause after the first attempt; it doubles with each one.</summary>
    public TimeSpan FirstPause { get; init; } = TimeSpan.FromMilliseconds(100);

    /// <summary>The longest pause between attempts.</summary>
    public TimeSpan LongestPause { get; init; } = TimeSpan.FromSeconds(5);
}
