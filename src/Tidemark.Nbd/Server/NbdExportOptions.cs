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
}
