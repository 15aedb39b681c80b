using Tidemark.Blocks.Nodes;

namespace Tidemark.Qcow2.Tests;

/// <summary>A kind of image that the same random histories are run over.</summary>
public sealed record ImageVariant(string Name)
{
    public int Version { get; init; } = 3;

    public int ClusterSize { get; init; } = 4096;

    public int RefcountBits { get; init; } = 16;

    public bool Lazy { get; init; }

    public bool Extended { get; init; }

    public bool DataFile { get; init; }

    public bool Raw { get; init; }

    public bool Zstd { get; init; }

    public bool KeepsOnDiscard { get; init; }

    public Qcow2Preallocation Preallocation { get; init; }

    public static readonly ImageVariant[] All =
    [
        new("small clusters") { ClusterSize = 512 },
        new("version 2") { Version = 2 },
        new("lazy refcounts") { Lazy = true, ClusterSize = 512 },
        new("subclusters") { Extended = true, ClusterSize = 16384 },
        new("subclusters, set aside")
        {
            Extended = true, ClusterSize = 16384, Preallocation = Qcow2Preallocation.Metadata,
        },
        new("data file") { DataFile = true },
        new("raw data file") { DataFile = true, Raw = true },
        new("subclusters in a data file") { DataFile = true, Extended = true, ClusterSize = 16384 },
        new("set aside") { Preallocation = Qcow2Preallocation.Full, RefcountBits = 1 },
        new("discard without unref") { KeepsOnDiscard = true },
        new("zstd") { Zstd = true },
    ];

    public Qcow2CreateOptions Options(long length, BlockNode? dataFile) => new()
    {
        Length = length,
        Version = Version,
        ClusterSize = ClusterSize,
        RefcountBits = RefcountBits,
        LazyRefcounts = Lazy,
        ExtendedL2 = Extended,
        CompressionType = Zstd ? 1 : 0,
        DataFile = DataFile ? "data.raw" : null,
        DataFileRaw = Raw,
        DataFileNode = dataFile,
        Preallocation = Preallocation,
    };

    public Qcow2OpenOptions Open(BlockNode? dataFile) => new()
    {
        DataFile = dataFile,
        DiscardNoUnref = KeepsOnDiscard,
        GrowthStep = ClusterSize * 16,
    };

    public override string ToString() => Name;
}
