using Tidemark.Qcow2.Format;

namespace Tidemark.Qcow2.Metadata;

/// <summary>What to do for a run of guest bytes; the data I/O is done elsewhere.</summary>
/// <param name="Kind">Data: read at the host offset. Compressed: one cluster, described by the entry. Zero kinds:
/// zeroes. Unallocated: ask the backing file.</param>
/// <param name="Length">Guest bytes from the asked offset on for which this holds.</param>
/// <param name="HostOffset">For data, and for zeroes that keep a host cluster: where the first byte lies.</param>
/// <param name="Entry">The L2 entry of the first cluster.</param>
internal readonly record struct ClusterMapping(ClusterKind Kind, long Length, long HostOffset, ulong Entry);
