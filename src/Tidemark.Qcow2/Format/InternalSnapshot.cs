namespace Tidemark.Qcow2.Format;

/// <summary>One internal snapshot: its own L1 table over clusters that it shares (docs/interop/qcow2,
/// "Snapshots").</summary>
/// <param name="Id">QEMU's id.</param>
/// <param name="Name">The name.</param>
/// <param name="L1Offset">Where its L1 table lies.</param>
/// <param name="L1EntryCount">Entries of that table.</param>
public sealed record InternalSnapshot(string Id, string Name, long L1Offset, int L1EntryCount)
{
    /// <summary>When it was taken.</summary>
    public DateTimeOffset Date { get; init; }

    /// <summary>How long the guest had run, in nanoseconds.</summary>
    public ulong VmClock { get; init; }

    /// <summary>Bytes of the saved machine, zero when only the disk was saved.</summary>
    public long VmStateLength { get; init; }

    /// <summary>The size of the disk then; null when the image does not say, and it is the present one.</summary>
    public long? DiskLength { get; init; }

    /// <summary>Its place in the table.</summary>
    internal int Index { get; init; }

    /// <summary>Whether its entry has what version 3 asks for: the size of the disk and of the machine's state. One
    /// without is read all the same, at the disk's present size.</summary>
    internal bool IsComplete { get; init; } = true;

    /// <summary>The guest's instruction count; null when it was not recorded.</summary>
    public ulong? InstructionCount { get; init; }
}
