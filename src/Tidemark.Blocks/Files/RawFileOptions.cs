namespace Tidemark.Blocks.Files;

/// <summary>How a <see cref="RawFileNode"/> is opened.</summary>
public sealed record RawFileOptions
{
    /// <summary>Whether writes are refused.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>
    /// Whether others may write meanwhile: QEMU's <c>force-share</c>, qemu-img's <c>-U</c>. Only together with
    /// <see cref="ReadOnly"/>. What is read may then be torn.
    /// </summary>
    public bool ForceShare { get; init; }

    /// <summary>Whether QEMU's image locks are taken and honoured: its <c>locking=on</c>.</summary>
    public bool Locking { get; init; } = true;

    /// <summary>
    /// Whether a flush does nothing: QEMU's cache mode <c>unsafe</c>. For a file that is worth nothing until its writer
    /// has ended well: after a crash of the host nothing is known of its content, whatever was flushed.
    /// </summary>
    public bool WithoutFlush { get; init; }
}
