using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Graph;

namespace Tidemark.Blocks.Copy;

/// <summary>What a <see cref="BlockCopy"/> copies, and how much of it at a time.</summary>
public sealed record BlockCopyOptions
{
    /// <summary>The bytes in flight when nothing else is asked for: 16 MiB.</summary>
    public const long DefaultMaximumBytesInFlight = 16 << 20;

    /// <summary>
    /// What to copy; null for the whole disk. It is read once, when the copy is made, and rounded out to clusters.
    /// </summary>
    public DirtyBitmap? Bitmap { get; init; }

    /// <summary>The smallest cluster, a power of two; the target's preferred size counts if it is larger.</summary>
    public int MinimumClusterSize { get; init; } = BlockCopy.DefaultClusterSize;

    /// <summary>
    /// The most bytes that are held in buffers at one time. At least the longest request is always allowed.
    /// </summary>
    public long MaximumBytesInFlight { get; init; } = DefaultMaximumBytesInFlight;

    /// <summary>
    /// Whether data that was read is looked through for clusters of zeroes, which are then not sent as data.
    /// </summary>
    public bool DetectZeroes { get; init; }

    /// <summary>
    /// The graph of the two nodes. With it, each step of the background copy is a request of the graph, so that a
    /// drained section holds it back; without it, nobody else changes these nodes' edges.
    /// </summary>
    public BlockGraph? Graph { get; init; }

    /// <summary>
    /// For tests that step through interleavings: who waits goes on at once, on the thread that woke him.
    /// </summary>
    internal bool InlineContinuations { get; init; }
}
