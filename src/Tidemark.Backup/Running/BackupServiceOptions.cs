using System.Security.Cryptography;
using Tidemark.Backup.Journal;

namespace Tidemark.Backup.Running;

/// <summary>What a backup service works with.</summary>
public sealed record BackupServiceOptions
{
    /// <summary>Where journals and locks are kept.</summary>
    public string StateDirectory { get; init; } = Journal.StateDirectory.DefaultPath;

    /// <summary>The clock.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>Makes the ids of runs: sixteen hexadecimal digits that never come again.</summary>
    public Func<string> NewRunId { get; init; } = () => Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(8));

    /// <summary>How often progress is reported while bytes move.</summary>
    public TimeSpan ProgressInterval { get; init; } = TimeSpan.FromMilliseconds(200);

    /// <summary>How long a monitor that was closed in the middle of a run is tried to be reached again for the
    /// undo.</summary>
    public TimeSpan ReconnectTimeout { get; init; } = TimeSpan.FromSeconds(3);

    internal StateDirectory State => new(StateDirectory);
}
