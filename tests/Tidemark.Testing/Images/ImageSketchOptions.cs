namespace Tidemark.Testing.Images;

/// <summary>What a hand-laid image is to have.</summary>
public sealed record ImageSketchOptions
{
    public int Version { get; init; } = 3;

    public int ClusterBits { get; init; } = 9;

    public int RefcountOrder { get; init; } = 4;

    public long DiskLength { get; init; } = 40_448;

    /// <summary>0 zlib, 1 zstd.</summary>
    public int CompressionType { get; init; }

    public bool HasExtendedL2 { get; init; }

    /// <summary>The file that data lies in, if not in the image; there is no compressed data then.</summary>
    public string? DataFile { get; init; }

    public bool HasDataFile => DataFile is not null;

    public bool HasLazyRefcounts { get; init; }

    public int Snapshots { get; init; }

    public int Bitmaps { get; init; }

    public string? BackingFile { get; init; }

    public string? BackingFormat { get; init; }

    /// <summary>Which clusters are what, and what they hold.</summary>
    public int Seed { get; init; } = 1;

    /// <summary>Of 10 clusters, how many are not allocated.</summary>
    public int Holes { get; init; } = 3;

    /// <summary>An extension that nobody knows.</summary>
    public bool HasUnknownExtension { get; init; }
}
