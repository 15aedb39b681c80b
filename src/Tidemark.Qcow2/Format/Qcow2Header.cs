using System.Text;

namespace Tidemark.Qcow2.Format;

/// <summary>
/// What the first cluster of an image says (docs/interop/qcow2, "Header"): checked, so that every number can be used
/// as it is. Offsets and lengths are bytes. <see cref="Qcow2HeaderReader"/> makes it, <see cref="Qcow2HeaderWriter"/>
/// lays it out again.
/// </summary>
public sealed record Qcow2Header
{
    /// <summary>The first four bytes: <c>QFI\xfb</c>.</summary>
    public const uint Magic = 0x514649fb;

    /// <summary>2 (QEMU: compat 0.10) or 3 (compat 1.1).</summary>
    public required int Version { get; init; }

    /// <summary>The cluster size is 2 to this power.</summary>
    public required int ClusterBits { get; init; }

    /// <summary>The size of the disk.</summary>
    public required long Length { get; init; }

    /// <summary>Entries of the active L1 table.</summary>
    public required int L1EntryCount { get; init; }

    /// <summary>Where the active L1 table lies.</summary>
    public required long L1Offset { get; init; }

    /// <summary>Where the refcount table lies.</summary>
    public required long RefcountTableOffset { get; init; }

    /// <summary>Clusters of the refcount table.</summary>
    public required int RefcountTableClusters { get; init; }

    /// <summary>How many internal snapshots the image has.</summary>
    public int SnapshotCount { get; init; }

    /// <summary>Where the snapshot table lies.</summary>
    public long SnapshotsOffset { get; init; }

    /// <summary>Incompatible feature bits.</summary>
    public ulong IncompatibleFeatures { get; init; }

    /// <summary>Compatible feature bits.</summary>
    public ulong CompatibleFeatures { get; init; }

    /// <summary>Autoclear feature bits.</summary>
    public ulong AutoclearFeatures { get; init; }

    /// <summary>A refcount has 2 to this power bits.</summary>
    public int RefcountOrder { get; init; } = 4;

    /// <summary>0 zlib, 1 zstd.</summary>
    public int CompressionType { get; init; }

    /// <summary>The backing file's name as it stands in the image, or null.</summary>
    public string? BackingFile { get; init; }

    /// <summary>The backing file's format from the header extension, or null when the image does not say.</summary>
    public string? BackingFormat { get; init; }

    /// <summary>The external data file's name as it stands in the image, or null.</summary>
    public string? DataFile { get; init; }

    /// <summary>Whether guest data lies in an external data file, and only the tables in this one.</summary>
    public bool HasDataFile => (IncompatibleFeatures & FeatureBits.ExternalDataFile) != 0;

    /// <summary>Whether the external data file holds the disk's bytes by itself: QEMU's data_file_raw.</summary>
    public bool IsDataFileRaw => HasDataFile && (AutoclearFeatures & FeatureBits.DataFileRaw) != 0;

    /// <summary>Whether clusters have 32 subclusters with a state of their own.</summary>
    public bool HasExtendedL2 => (IncompatibleFeatures & FeatureBits.ExtendedL2) != 0;

    /// <summary>Why the bitmaps extension cannot be used; null when it can, or there is none.</summary>
    public string? BitmapsProblem { get; init; }

    /// <summary>Guest bytes that one entry of the L1 table maps.</summary>
    internal long L1Coverage => (long)ClusterSize * (ClusterSize / (HasExtendedL2 ? 16 : 8));

    /// <summary>Entries that the L1 table of a disk of that length needs.</summary>
    internal long L1EntriesFor(long length) => (length / L1Coverage) + (length % L1Coverage == 0 ? 0 : 1);

    /// <summary>Bytes in a cluster.</summary>
    public int ClusterSize => 1 << ClusterBits;

    /// <summary>Bits of a refcount.</summary>
    public int RefcountBits => 1 << RefcountOrder;

    /// <summary>QEMU's name of the version: <c>0.10</c> or <c>1.1</c>.</summary>
    public string Compat => Version == 2 ? "0.10" : "1.1";

    /// <summary>QEMU's name of the compression type.</summary>
    public string CompressionName => CompressionType == 0 ? "zlib" : "zstd";

    /// <summary>Whether refcounts may be written late (the compatible feature; the dirty bit says that they
    /// were).</summary>
    public bool HasLazyRefcounts => (CompatibleFeatures & FeatureBits.LazyRefcounts) != 0;

    /// <summary>Whether the image is marked corrupt.</summary>
    public bool IsCorrupt => (IncompatibleFeatures & FeatureBits.Corrupt) != 0;

    /// <summary>Whether refcounts were left unwritten by a crash.</summary>
    public bool IsDirty => (IncompatibleFeatures & FeatureBits.Dirty) != 0;

    /// <summary>Where the backing file's name stands in the first cluster; 0 without one.</summary>
    internal int BackingFileOffset { get; init; }

    /// <summary>The bytes from 104 to the header's length, kept as they are (compression type and padding).</summary>
    internal byte[] AdditionalFields { get; init; } = new byte[8];

    /// <summary>All extensions in their order, but for the end mark.</summary>
    internal IReadOnlyList<HeaderExtension> Extensions { get; init; } = [];

    /// <summary>The bitmaps extension, if there is one and its autoclear bit vouches for it.</summary>
    internal BitmapsExtension? Bitmaps { get; init; }

    internal int HeaderLength => Version == 2 ? 72 : 104 + AdditionalFields.Length;

    internal byte[] BackingFileBytes => BackingFile is null ? [] : Encoding.UTF8.GetBytes(BackingFile);

    /// <summary>The same header with its bitmaps extension set, or taken away.</summary>
    internal Qcow2Header WithBitmaps(BitmapsExtension? bitmaps)
    {
        List<HeaderExtension> extensions = [];
        var placed = false;
        foreach (var extension in Extensions)
        {
            if (extension.Type != HeaderExtension.Bitmaps)
            {
                extensions.Add(extension);
            }
            else if (bitmaps is { } changed)
            {
                extensions.Add(changed.ToExtension());
                placed = true;
            }
        }

        if (!placed && bitmaps is { } added)
        {
            extensions.Insert(0, added.ToExtension());
        }

        return this with
        {
            Bitmaps = bitmaps,
            Extensions = extensions,
            BitmapsProblem = null,
            AutoclearFeatures = (AutoclearFeatures & ~FeatureBits.Bitmaps)
                | (bitmaps is null ? 0 : FeatureBits.Bitmaps),
        };
    }
}
