namespace Tidemark.Qcow2.Checking;

/// <summary>What a check of an image found; the numbers mean what qemu-img check's do.</summary>
public sealed record Qcow2CheckReport
{
    /// <summary>Clusters that are counted more often than they are used: space is lost, nothing else. Those that were
    /// put right are not among them.</summary>
    public int Leaks { get; init; }

    /// <summary>Contradictions that can cost data, but for those that were put right.</summary>
    public int Corruptions { get; init; }

    /// <summary>Of the corruptions, entries of the snapshot table that lack what version 3 asks for. They are told, not
    /// repaired, and keep nobody from writing: nothing that is read or written depends on them.</summary>
    public int IncompleteSnapshots { get; init; }

    /// <summary>Leaks that were put right.</summary>
    public int LeaksFixed { get; init; }

    /// <summary>Corruptions that were put right.</summary>
    public int CorruptionsFixed { get; init; }

    /// <summary>Parts that could not be checked.</summary>
    public int CheckErrors { get; init; }

    /// <summary>Clusters of the disk.</summary>
    public long TotalClusters { get; init; }

    /// <summary>Guest clusters that have a host cluster or compressed data here.</summary>
    public long AllocatedClusters { get; init; }

    /// <summary>Those that do not lie behind the one before, and all compressed ones.</summary>
    public long FragmentedClusters { get; init; }

    /// <summary>Guest clusters whose bytes are compressed.</summary>
    public long CompressedClusters { get; init; }

    /// <summary>Where the last used cluster of the file ends, in bytes.</summary>
    public long ImageEndOffset { get; init; }

    /// <summary>What was found, one line each, cut off after <see cref="MaximumMessages"/>.</summary>
    public IReadOnlyList<string> Messages { get; init; } = [];

    /// <summary>The most messages that are kept.</summary>
    public const int MaximumMessages = 100;

    /// <summary>Whether nothing is left that is wrong.</summary>
    public bool IsClean => Leaks == 0 && Corruptions == 0 && CheckErrors == 0;
}
