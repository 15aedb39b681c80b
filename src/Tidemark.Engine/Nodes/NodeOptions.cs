using Tidemark.Nbd.Protocol;

namespace Tidemark.Engine.Nodes;

/// <summary>What <c>blockdev-add</c> asks for: one node, with its children inline or by name.</summary>
internal abstract record NodeOptions
{
    /// <summary>QEMU's name of the driver.</summary>
    internal abstract string Driver { get; }

    /// <summary>The node's name; null for a child that nobody named.</summary>
    internal string? NodeName { get; init; }

    /// <summary>Whether writes are refused; null to do as the parent does, and to allow them at the root.</summary>
    internal bool? ReadOnly { get; init; }

    /// <summary>Whether a node that may not be written is opened read-only instead of not at all.</summary>
    internal bool AutoReadOnly { get; init; }

    /// <summary>Whether other processes may use the image in any way: then no lock is taken.</summary>
    internal bool ForceShare { get; init; }

    /// <summary>Whether discards go through the node. Null is QEMU's default: not at the root, and through a child
    /// that is described within its parent.</summary>
    internal bool? Discards { get; init; }
}

/// <summary>A child: a node that exists, or one to be made.</summary>
internal sealed record ChildOptions(string? Name, NodeOptions? Options);

/// <summary>Driver <c>file</c>.</summary>
internal sealed record FileNodeOptions(string FileName, bool? Locking) : NodeOptions
{
    internal override string Driver => "file";
}

/// <summary>Driver <c>raw</c>.</summary>
internal sealed record RawNodeOptions(ChildOptions File, long Offset, long? Size) : NodeOptions
{
    internal override string Driver => "raw";
}

/// <summary>Driver <c>qcow2</c>. <see cref="Backing"/> null means the one that the header names.</summary>
internal sealed record Qcow2NodeOptions(ChildOptions File, bool NoBacking, ChildOptions? Backing) : NodeOptions
{
    internal override string Driver => "qcow2";
}

/// <summary>Driver <c>nbd</c>.</summary>
internal sealed record NbdDriverOptions(NbdEndPoint Server, string Export) : NodeOptions
{
    internal override string Driver => "nbd";
}

/// <summary>Driver <c>copy-before-write</c>.</summary>
internal sealed record CopyBeforeWriteNodeOptions(
    ChildOptions File, ChildOptions Target, string? BitmapNode, string? BitmapName, bool? BreakGuestWrite,
    TimeSpan? Timeout)
    : NodeOptions
{
    internal override string Driver => "copy-before-write";
}

/// <summary>Driver <c>snapshot-access</c>.</summary>
internal sealed record SnapshotAccessNodeOptions(ChildOptions File) : NodeOptions
{
    internal override string Driver => "snapshot-access";
}

/// <summary>Driver <c>null-co</c>.</summary>
internal sealed record NullNodeOptions(long Size, bool ReadZeroes) : NodeOptions
{
    internal override string Driver => "null-co";
}
