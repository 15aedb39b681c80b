using Tidemark.Blocks.Nodes;
using Tidemark.Qmp;

namespace Tidemark.Engine.Nodes;

// Who may write where. It is QEMU's system of permissions (block.c, "bdrv_child_perm") cut down to the one permission
// that loses data when it is got wrong: WRITE. Each edge of the graph needs it or not, and shares it with the node's
// other users or not. The graph is sound when no node has one user that needs WRITE beside another that does not share
// it, and no read-only node has a user that needs it.
//
//   edge                          needs WRITE                   shares WRITE
//   export, at the root           if it is writable             yes
//   format (qcow2) -> file        if the format is writable     no: somebody else's write would tear its metadata
//   filter, raw -> file           if one of its users does      if all of its users do
//   overlay -> backing            no                            if all of its users do
//   copy-before-write -> file     if one of its users does      only while nobody uses the filter (nor a job): a write
//                                                               past it would destroy what the frozen view needs
//   copy-before-write -> target   yes                           yes: the disk may be in the target's backing chain
//   snapshot-access -> filter     no                            yes

/// <summary>Decides whether a graph's users get along.</summary>
internal sealed class Permissions
{
    private readonly NodeSet _nodes;

    internal Permissions(NodeSet nodes) => _nodes = nodes;

    /// <summary>Refuses a graph in which a write could damage what somebody else relies on.</summary>
    /// <exception cref="QmpException">Two users of a node do not get along, or one wants to write a read-only
    /// node.</exception>
    internal void Check()
    {
        foreach (var entry in _nodes.Entries)
        {
            Check(entry);
        }
    }

    private void Check(NodeEntry entry)
    {
        var parents = entry.Node.Parents;
        foreach (var writer in parents)
        {
            if (!NeedsWrite(writer))
            {
                continue;
            }

            if (entry.IsReadOnly)
            {
                throw new QmpException(QmpException.GenericError, "Block node is read-only");
            }

            foreach (var other in parents)
            {
                if (!ReferenceEquals(other, writer) && !SharesWrite(other))
                {
                    throw new QmpException(
                        QmpException.GenericError,
                        $"Permission conflict on node '{entry.Node.Name}': permissions 'write' are both required by "
                        + $"{Describe(writer, entry.Node)} and unshared by {Describe(other, entry.Node)}.");
                }
            }
        }
    }

    private bool NeedsWrite(BlockChild edge)
    {
        if (edge.Owner is not { } owner)
        {
            return edge.Role == ChildRole.Target || FindRoot(edge) is { Writes: true };
        }

        return edge.Role switch
        {
            ChildRole.Backing => false,
            ChildRole.Target => true,
            _ when owner.Driver == "snapshot-access" => false,
            _ when IsPassThrough(owner) => owner.Parents.Any(NeedsWrite),
            _ => !(_nodes.Find(owner)?.IsReadOnly ?? owner.IsReadOnly),
        };
    }

    private bool SharesWrite(BlockChild edge)
    {
        if (edge.Owner is not { } owner)
        {
            return FindRoot(edge) is not { SharesWrite: false };
        }

        return edge.Role switch
        {
            ChildRole.Target => true,
            ChildRole.Backing => owner.Parents.All(SharesWrite),
            _ when owner.Driver == "snapshot-access" => true,
            _ when owner.Driver == "copy-before-write" =>
                owner.Parents.Count == 0 && _nodes.Find(owner)?.JobType is null,
            _ when IsPassThrough(owner) => owner.Parents.All(SharesWrite),
            _ => false,
        };
    }

    private static bool IsPassThrough(BlockNode node) => node.IsFilter || node.Driver == "raw";

    private RootUse? FindRoot(BlockChild edge) =>
        _nodes.Roots.FirstOrDefault(
            root => string.Equals(root.Backend.Description, edge.Description, StringComparison.Ordinal));

    private static string Describe(BlockChild edge, BlockNode node) => edge.Owner is { } owner
        ? $"node '{owner.Name}' (uses node '{node.Name}' as '{edge.Role.ToString().ToLowerInvariant()}' child)"
        : $"{edge.Description} (uses node '{node.Name}' as 'root' child)";
}
