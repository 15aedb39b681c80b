using Tidemark.Blocks.Bitmaps;

namespace Tidemark.Nbd.Server;

/// <summary>How an export is offered.</summary>
public sealed record NbdExportOptions
{
    /// <summary>Whether clients may write. The default is no.</summary>
    public bool Writable { get; init; }

    /// <summary>A sentence for people, up to 4096 bytes; empty for none.</summary>
    public string Description { get; init; } = "";

    /// <summary>
    /// Bitmaps offered as <c>qemu:dirty-bitmap:NAME</c>. Each is busy while it is exported, so that nobody changes or
    /// removes it. It may be one of any node, as long as its length is the export's.
    /// </summary>
    public IReadOnlyList<DirtyBitmap> Bitmaps { get; init; } = [];

    /// <summary>
    /// Whether clients are told that several connections to the export are safe: a flush on one covers what was
    /// answered on all. It is so here, all of them sharing one node; say no where somebody else caches in between.
    /// </summary>
    public bool MultipleConnections { get; init; } = true;

    /// <summary>Whether clients may ask which image of the backing chain holds the bytes, as
    /// <c>qemu:allocation-depth</c>. The default is no.</summary>
    public bool AllocationDepth { get; init; }

    /// <summary>
    /// How the disk grows when a client asks (the RESIZE extension): given the new length in bytes, more than the
    /// present one. It does so within a drained section of the disk's graph, or fails with a
    /// <see cref="Blocks.Nodes.BlockException"/>. Null, the default, refuses; an export never shrinks.
    /// </summary>
    public Func<long, CancellationToken, ValueTask>? Grow { get; init; }
}
