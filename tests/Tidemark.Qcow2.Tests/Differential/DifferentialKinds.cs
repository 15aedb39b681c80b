namespace Tidemark.Qcow2.Tests.Differential;

/// <summary>The images that go back and forth: every option of qemu-img.</summary>
internal static class DifferentialKinds
{
    internal static IEnumerable<DifferentialKind> All()
    {
        yield return Kind("default", "", 65536);
        yield return Kind("clusters of 512", "cluster_size=512", 512) with { Length = (1 << 20) + 1536 };
        yield return Kind("clusters of 4k, snapshots", "cluster_size=4k", 4096) with { HasSnapshots = true };
        yield return Kind("clusters of 2M", "cluster_size=2M", 2 << 20) with { Length = (9 << 20) + 512 };
        yield return Kind("refcounts of 1 bit", "refcount_bits=1", 65536, 1) with { CanCompress = false };
        yield return Kind("refcounts of 64 bits, snapshots", "cluster_size=4k,refcount_bits=64", 4096, 64) with
        {
            HasSnapshots = true,
        };
        yield return new DifferentialKind("version 2, snapshots", "compat=0.10")
        {
            HasBitmaps = false, HasSnapshots = true,
        };
        yield return new DifferentialKind("version 2 over a backing file", "compat=0.10")
        {
            HasBitmaps = false, BackingLength = 2_000_384,
        };
        yield return Kind("over a shorter backing file", "", 65536) with { BackingLength = 1_500_160 };
        yield return Kind("over a longer backing file", "cluster_size=8k", 8192) with { BackingLength = 4_000_256 };
        yield return new DifferentialKind("zstd", "compression_type=zstd,cluster_size=16k")
        {
            ClusterSize = 16384, First = new Version(7, 2),
        };
        yield return new DifferentialKind("metadata preallocated", "preallocation=metadata")
        {
            CanCompress = false,
        };
        yield return new DifferentialKind("space preallocated", "preallocation=falloc")
        {
            HasSnapshots = true, CanCompress = false,
        };
        yield return new DifferentialKind("lazy refcounts", "lazy_refcounts=on")
        {
            Ours = new Qcow2CreateOptions { Length = 0, LazyRefcounts = true },
        };
        yield return new DifferentialKind("subclusters", "extended_l2=on")
        {
            HasSnapshots = true, Ours = new Qcow2CreateOptions { Length = 0, ExtendedL2 = true },
        };
        yield return new DifferentialKind("subclusters over a backing file", "extended_l2=on,cluster_size=16k")
        {
            ClusterSize = 16384, BackingLength = 1_500_160,
            Ours = new Qcow2CreateOptions { Length = 0, ExtendedL2 = true, ClusterSize = 16384 },
        };
        yield return new DifferentialKind("data file", "data_file={data}") { HasDataFile = true, CanCompress = false };
        yield return new DifferentialKind("raw data file", "data_file={data},data_file_raw=on")
        {
            HasDataFile = true, CanCompress = false,
        };
        yield return Kind("resized", "cluster_size=4k", 4096) with { Resizes = true };
        yield return Kind("kept on discard", "", 65536) with { KeepsOnDiscard = true };
    }

    private static DifferentialKind Kind(string name, string options, int clusterSize, int refcountBits = 16)
    {
        DifferentialKind kind = new(name, options) { ClusterSize = clusterSize };
        return kind with
        {
            Ours = new Qcow2CreateOptions
            {
                Length = kind.Length, ClusterSize = clusterSize, RefcountBits = refcountBits,
            },
        };
    }
}
