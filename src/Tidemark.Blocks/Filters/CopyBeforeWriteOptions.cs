using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Copy;

namespace Tidemark.Blocks.Filters;

/// <summary>The options of a <see cref="CopyBeforeWriteFilter"/>.</summary>
public sealed record CopyBeforeWriteOptions
{
    /// <summary>What gives way when old data cannot be saved.</summary>
    public CopyBeforeWritePolicy OnError { get; init; } = CopyBeforeWritePolicy.BreakSnapshot;

    /// <summary>
    /// How long a guest's write waits for old data to be saved, QEMU's <c>cbw-timeout</c>; null to wait as long as it
    /// takes. When it has passed, <see cref="OnError"/> decides. With a timeout the saving runs on another thread, so
    /// that even a node that blocks its caller cannot hold the guest longer.
    /// </summary>
    public TimeSpan? Timeout { get; init; }

    /// <summary>
    /// What can be read of the snapshot, as QEMU's <c>bitmap</c>: only what is dirty in it is saved, and reads outside
    /// are refused. Null for the whole disk. It is copied when the filter is made.
    /// </summary>
    public DirtyBitmap? Access { get; init; }

    /// <summary>
    /// Whether reads of a target whose backing chain holds the disk are reads of the snapshot, and are guarded as such
    /// (the scratch overlay). False for a job that only fills its target.
    /// </summary>
    public bool TargetIsSnapshot { get; init; } = true;

    /// <summary>How the copying is bounded. Its bitmap is not used: see <see cref="Access"/>.</summary>
    public BlockCopyOptions Copy { get; init; } = new();

    /// <summary>The clock of the timeout.</summary>
    public TimeProvider Clock { get; init; } = TimeProvider.System;
}
