namespace Tidemark.Qcow2.Format;

/// <summary>One internal snapshot: its own L1 table over clusters that it shares (docs/interop/qcow2,
/// "Snapshots").</summary>
/// <param name="Id">QEMU's id.</param>
/// <param name="Name">The name.</param>
/// <param name="L1Offset">Where its L1 table lies.</param>
/// <param name="L1EntryCount">Entries of that table.</param>
public sealed record InternalSnapshot(string Id, string Name, long L1Offset, int L1EntryCount);
