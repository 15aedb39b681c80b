namespace Tidemark.Blocks.Nodes;

/// <summary>
/// An edge of the block graph: <see cref="Owner"/> uses <see cref="Node"/> in a <see cref="Role"/>. While the edge
/// lives it is listed in the node's <see cref="BlockNode.Parents"/>, which is what makes a node "in use".
/// </summary>
/// <remarks>
/// <see cref="Node"/> may be read at any time, without a lock. It is changed by <see cref="Replace"/> only inside a
/// drained section of the graph, when no request is under way.
/// </remarks>
public sealed class BlockChild : IDisposable
{
    private volatile BlockNode _node;
    private bool _detached;

    /// <summary>Attaches the edge.</summary>
    /// <param name="owner">The parent node, or null when an export, device or job is the parent.</param>
    /// <param name="role">What the child is to the parent.</param>
    /// <param name="node">The child.</param>
    /// <param name="description">Who the parent is, for messages: <c>node 'a'</c>, <c>export 'vda'</c>.</param>
    public BlockChild(BlockNode? owner, ChildRole role, BlockNode node, string description)
    {
        Owner = owner;
        Role = role;
        Description = description;
        _node = node;
        node.AddParent(this);
    }

    /// <summary>The parent node; null when the parent is no node.</summary>
    public BlockNode? Owner { get; }

    /// <summary>What the child is to the parent.</summary>
    public ChildRole Role { get; }

    /// <summary>Who the parent is, for messages.</summary>
    public string Description { get; }

    /// <summary>The child, at this moment.</summary>
    public BlockNode Node => _node;

    /// <summary>Points the edge at another node. Only inside a drained section.</summary>
    public void Replace(BlockNode node)
    {
        ObjectDisposedException.ThrowIf(_detached, this);
        node.AddParent(this);
        _node.RemoveParent(this);
        _node = node;
    }

    /// <summary>
    /// Detaches the edge. The child itself is not disposed: nodes belong to their graph or their opener.
    /// </summary>
    public void Dispose()
    {
        if (!_detached)
        {
            _detached = true;
            _node.RemoveParent(this);
        }
    }
}
