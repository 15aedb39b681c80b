namespace Tidemark.Qcow2.Metadata;

/// <summary>Host clusters set aside for guest clusters, not linked yet.</summary>
/// <param name="GuestCluster">The first guest cluster.</param>
/// <param name="Count">How many, one after the other on both sides.</param>
/// <param name="HostOffset">Where the first lies in the file.</param>
/// <param name="IsFresh">Whether the file has never held anything there, so that it reads as zeroes.</param>
/// <param name="IsReused">Whether the clusters were kept for these guest clusters already (zero, preallocated).</param>
/// <param name="UnitBits">What is written is rounded outward to units of 2 to this power, and the rest of the first and
/// last one is filled with what they read as: clusters, or subclusters where the others keep their state.</param>
/// <param name="Limit">The guest offset behind which this run may not be used.</param>
internal readonly record struct ClusterRun(
    long GuestCluster, int Count, long HostOffset, bool IsFresh, bool IsReused, int UnitBits, long Limit);
