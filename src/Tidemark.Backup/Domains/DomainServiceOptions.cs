using Tidemark.Backup.Journal;

namespace Tidemark.Backup.Domains;

/// <summary>What a <see cref="DomainService"/> may be told.</summary>
public sealed record DomainServiceOptions
{
    /// <summary>Where the state of domains is kept.</summary>
    public required StateDirectory State { get; init; }

    /// <summary>What identifies the domain from one command to the next; null: its source does.</summary>
    public string? DomainName { get; init; }

    /// <summary>The clock.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>How long to wait for another command on the same domain.</summary>
    public TimeSpan LockTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Draws a run's id.</summary>
    public Func<string> NewRunId { get; init; } = static () =>
        Convert.ToHexStringLower(System.Security.Cryptography.RandomNumberGenerator.GetBytes(8));

    /// <summary>Told what a user should know; called from any thread, one call at a time.</summary>
    public Action<string> Note { get; init; } = static _ => { };
}
