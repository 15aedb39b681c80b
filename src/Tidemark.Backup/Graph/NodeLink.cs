namespace Tidemark.Backup.Graph;

/// <summary>What is known of an edge of the graph.</summary>
public enum NodeLink
{
    /// <summary>The node has no such child.</summary>
    None,

    /// <summary>The child is known by its name.</summary>
    Known,

    /// <summary>There is a child, but the hypervisor did not say which node it is.</summary>
    Unknown,
}
