using Tidemark.Repository.Crypto;

namespace Tidemark.Repository;

/// <summary>How a repository is used; the defaults are right for most.</summary>
public sealed record RepositoryOptions
{
    /// <summary>zstd's level: 1 by default, which stores twice as fast as 3 and about a tenth more.</summary>
    public int CompressionLevel { get; init; } = 1;

    /// <summary>How many threads hash, compress and encrypt; one a core by default.</summary>
    public int Encoders { get; init; } = Environment.ProcessorCount;

    /// <summary>What a new key's password costs.</summary>
    public KeyDerivation KeyDerivation { get; init; } = KeyDerivation.Default;

    /// <summary>The clock.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>How long a new lock waits for others to appear, as restic does.</summary>
    public TimeSpan LockSettleTime { get; init; } = TimeSpan.FromMilliseconds(200);
}
