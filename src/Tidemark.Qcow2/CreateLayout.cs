using System.Numerics;
using System.Text;
using Tidemark.Qcow2.Format;

namespace Tidemark.Qcow2;

/// <summary>Where the tables of a new image lie: header, refcount table, refcount blocks, L1 table, each counted by the
/// blocks.</summary>
/// <param name="Header">The header.</param>
/// <param name="FirstBlock">Where the first refcount block lies; the others follow.</param>
/// <param name="Blocks">How many there are.</param>
/// <param name="Clusters">Clusters of all that.</param>
internal readonly record struct CreateLayout(Qcow2Header Header, long FirstBlock, int Blocks, int Clusters)
{
    internal long FileLength => (long)Clusters << Header.ClusterBits;

    internal static CreateLayout Make(Qcow2CreateOptions options)
    {
        long size = options.ClusterSize;
        var header = MakeHeader(options);
        var l1Entries = header.L1EntriesFor(options.Length);
        var l1Clusters = ((l1Entries * 8) + size - 1) / size;
        var perBlock = size * 8 / options.RefcountBits;
        long blocks = 1, tableClusters = 1;
        while (blocks * perBlock < 1 + tableClusters + blocks + l1Clusters)
        {
            blocks++;
            tableClusters = ((blocks * 8) + size - 1) / size;
        }

        header = header with
        {
            L1EntryCount = (int)l1Entries,
            L1Offset = l1Entries == 0 ? 0 : (1 + tableClusters + blocks) * size,
            RefcountTableOffset = size,
            RefcountTableClusters = (int)tableClusters,
        };
        var clusters = checked((int)(1 + tableClusters + blocks + l1Clusters));
        return new CreateLayout(header, (1 + tableClusters) * size, (int)blocks, clusters);
    }

    private static Qcow2Header MakeHeader(Qcow2CreateOptions options) => new()
    {
        Version = options.Version,
        ClusterBits = BitOperations.Log2((uint)options.ClusterSize),
        Length = options.Length,
        L1EntryCount = 0,
        L1Offset = 0,
        RefcountTableOffset = 0,
        RefcountTableClusters = 0,
        RefcountOrder = BitOperations.Log2((uint)options.RefcountBits),
        CompressionType = options.CompressionType,
        AdditionalFields = options.Version == 2 ? [] : [(byte)options.CompressionType, 0, 0, 0, 0, 0, 0, 0],
        IncompatibleFeatures = (options.DataFile is null ? 0 : FeatureBits.ExternalDataFile)
            | (options.CompressionType == 0 ? 0 : FeatureBits.CompressionType)
            | (options.ExtendedL2 ? FeatureBits.ExtendedL2 : 0),
        CompatibleFeatures = options.LazyRefcounts ? FeatureBits.LazyRefcounts : 0,
        AutoclearFeatures = options.DataFileRaw ? FeatureBits.DataFileRaw : 0,
        BackingFile = options.BackingFile,
        BackingFormat = options.BackingFormat,
        DataFile = options.DataFile,
        Extensions = MakeExtensions(options),
    };

    private static List<HeaderExtension> MakeExtensions(Qcow2CreateOptions options)
    {
        List<HeaderExtension> extensions = [];
        if (options.BackingFormat is { } format)
        {
            extensions.Add(new HeaderExtension(HeaderExtension.BackingFormat, Encoding.UTF8.GetBytes(format)));
        }

        if (options.DataFile is { } dataFile)
        {
            extensions.Add(new HeaderExtension(HeaderExtension.ExternalDataFile, Encoding.UTF8.GetBytes(dataFile)));
        }

        if (options.Version >= 3)
        {
            extensions.Add(Qcow2HeaderWriter.FeatureNameTable());
        }

        return extensions;
    }
}
