using Tidemark.Blocks.Nodes;

namespace Tidemark.Engine.Nodes;

/// <summary>What the engine knows of a node besides the node itself. Guarded by the command gate.</summary>
internal sealed class NodeEntry
{
    internal NodeEntry(BlockNode node, NodeOptions? options)
    {
        Node = node;
        Options = options;
    }

    /// <summary>The node.</summary>
    internal BlockNode Node { get; }

    /// <summary>What it was opened with; null for a filter that a job made.</summary>
    internal NodeOptions? Options { get; set; }

    /// <summary>Whether <c>blockdev-add</c> made it, so that <c>blockdev-del</c> may remove it.</summary>
    internal bool IsOwnedByMonitor { get; init; }

    /// <summary>The nodes that were made together with it because it needed them; they go with it.</summary>
    internal List<NodeEntry> Owned { get; } = [];

    /// <summary>The job that uses the node, for <c>block device is in use by block job: …</c>; null when none
    /// does.</summary>
    internal string? JobType { get; set; }

    /// <summary>Whether the node may not be written any more although it was opened so: it has become a backing
    /// file.</summary>
    internal bool IsFrozen { get; set; }

    /// <summary>Whether it refuses writes, for whatever reason.</summary>
    internal bool IsReadOnly => IsFrozen || Node.IsReadOnly;
}
