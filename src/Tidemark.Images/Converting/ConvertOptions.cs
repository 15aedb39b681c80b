using Tidemark.Images.Creating;

namespace Tidemark.Images.Converting;

/// <summary>What a conversion makes, and how.</summary>
public sealed record ConvertOptions
{
    /// <summary>The target's name.</summary>
    public required string Target { get; init; }

    /// <summary>What the target is to be; its size comes from the sources where it is not said.</summary>
    public required CreateOptions Create { get; init; }

    /// <summary>Whether the target exists and is written over: <c>-n</c>.</summary>
    public bool NoCreate { get; init; }

    /// <summary>Whether an existing target is known to read as zeroes.</summary>
    public bool TargetIsZero { get; init; }

    /// <summary>Whether clusters are written compressed.</summary>
    public bool Compress { get; init; }

    /// <summary>Zeroes of at least this many bytes among data are not written; 0 writes everything, and looks for
    /// nothing.</summary>
    public int SparseLength { get; init; } = DefaultSparseLength;

    /// <summary>How many parts are copied at the same time; 0 for what suits the machine.</summary>
    public int Workers { get; init; }

    /// <summary>Whether the source's persistent bitmaps are copied.</summary>
    public bool Bitmaps { get; init; }

    /// <summary>Whether bitmaps that cannot be copied are left out instead of ending the conversion.</summary>
    public bool SkipBrokenBitmaps { get; init; }

    /// <summary>Whether the target may be reported as written before it is durable: cache mode <c>unsafe</c>.</summary>
    public bool WithoutFlush { get; init; }

    /// <summary>Whether names that stand in the target's image are followed.</summary>
    public bool FollowNames { get; init; } = true;

    /// <summary>Told how far it is, 0 to 1.</summary>
    public Action<double>? Report { get; init; }

    /// <summary>Told of what was left out, one line each.</summary>
    public Action<string>? Warn { get; init; }

    /// <summary>The most connections to an NBD server that offers several: what small limits of servers
    /// allow.</summary>
    public const int MaximumConnections = 4;

    /// <summary>4 KiB.</summary>
    public const int DefaultSparseLength = 4096;

    /// <summary>The most workers: qemu-img's number too.</summary>
    public const int MaximumWorkers = 16;
}
