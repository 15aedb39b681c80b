namespace Tidemark.Blocks.Filters;

/// <summary>What gives way when old data cannot be saved before a guest's write: QEMU's <c>on-cbw-error</c>.</summary>
public enum CopyBeforeWritePolicy
{
    /// <summary>
    /// The guest's write goes on; the point in time is lost. The default here: the guest always wins.
    /// </summary>
    BreakSnapshot,

    /// <summary>The guest's write fails; the point in time is kept. QEMU's default.</summary>
    BreakGuestWrite,
}
