using Tidemark.Images.Opening;

namespace Tidemark.Images.Converting;

/// <summary>How a disk is copied.</summary>
internal sealed record DiskCopyOptions
{
    /// <summary>How many workers copy.</summary>
    internal required int Workers { get; init; }

    /// <summary>Whether the target reads as zeroes where nothing was written to it.</summary>
    internal bool TargetIsZero { get; init; }

    /// <summary>The smallest run of zeroes that is not written; 0 for none.</summary>
    internal int SparseLength { get; init; }

    /// <summary>The unit in which the target allocates: to leave out less than one saves nothing.</summary>
    internal int ZeroUnit { get; init; }

    /// <summary>Whether clusters are written compressed; the target is qcow2.</summary>
    internal bool Compress { get; init; }

    /// <summary>The source's chain, where the source is one image: its map says more than a block status.</summary>
    internal OpenImage? Image { get; init; }

    /// <summary>Whether only what the top of <see cref="Image"/> holds is copied: the target has a backing
    /// file.</summary>
    internal bool OnlyTop { get; init; }

    /// <summary>Told how far it is.</summary>
    internal Action<double>? Report { get; init; }
}
