using Tidemark.Blocks.Nodes;
using Tidemark.Images.Formats;
using Tidemark.Qcow2;
using Tidemark.Qcow2.Format;

namespace Tidemark.Images.Opening;

/// <summary>One image of an open chain.</summary>
public sealed record ImageLayer
{
    /// <summary>What it is called: its path as it was given or combined, or an NBD URI.</summary>
    public required string FileName { get; init; }

    /// <summary>Its path on this host; null for an NBD export.</summary>
    public string? Path { get; init; }

    /// <summary><c>raw</c> or <c>qcow2</c>.</summary>
    public required string Format { get; init; }

    /// <summary>Whether nobody said the format.</summary>
    public bool WasProbed { get; init; }

    /// <summary>The node that is the disk, with all below.</summary>
    public required BlockNode Node { get; init; }

    /// <summary>The node that holds the image's own bytes.</summary>
    public required BlockNode File { get; init; }

    /// <summary>The node of the external data file; null without one.</summary>
    public BlockNode? DataFile { get; init; }

    /// <summary>What the data file is called; null without one.</summary>
    public string? DataFileName { get; init; }

    /// <summary>Where a raw disk begins in its file.</summary>
    public long RawOffset { get; init; }

    /// <summary>The header as it was at opening; null for raw.</summary>
    public Qcow2Header? Header { get; init; }

    /// <summary>The image as qcow2; null for raw.</summary>
    public Qcow2Node? Qcow2 => Node as Qcow2Node;

    /// <summary>What the backing file's name in the image comes to; null without one.</summary>
    public string? FullBackingName { get; init; }

    /// <summary>Whether the bytes of the file are the disk.</summary>
    public bool IsRaw => Format == ImageFormat.Raw;
}
