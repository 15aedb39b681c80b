namespace Tidemark.Blocks.Nodes;

/// <summary>What a child is to its parent. The names are QEMU's.</summary>
public enum ChildRole
{
    /// <summary>The node below that holds the bytes: a filter's child, or the file under a format.</summary>
    File,

    /// <summary>The node that answers for what an overlay has not allocated.</summary>
    Backing,

    /// <summary>Where a format's guest data lies when it is not in its file: QEMU's <c>data-file</c>.</summary>
    DataFile,

    /// <summary>Where a copy-before-write filter saves old data (the scratch), or a job copies to.</summary>
    Target,

    /// <summary>The node that an export, a device or a job uses: the edge from a <c>BlockBackend</c>.</summary>
    Root,
}
