namespace Tidemark.Qcow2.Checking;

/// <summary>What a check of an image found; the numbers mean what qemu-img check's do.</summary>
public sealed record Qcow2CheckReport
{
    /// <summary>Clusters that are counted more often than they are used: space is lost, nothing else.</summary>
    public int Leaks { get; init; }

    /// <summary>Contradictions that can cost data.</summary>
    public int Corruptions { get; init; }

    /// <summary>Guest clusters that have a host cluster or compressed data here.</summary>
    public long AllocatedClusters { get; init; }

    /// <summary>What was found, one line each, cut off after <see cref="MaximumMessages"/>.</summary>
    public IReadOnlyList<string> Messages { get; init; } = [];

    /// <summary>The most messages that are kept.</summary>
    public const int MaximumMessages = 100;

    /// <summary>Whether nothing was found.</summary>
    public bool IsClean => Leaks == 0 && Corruptions == 0;
}
