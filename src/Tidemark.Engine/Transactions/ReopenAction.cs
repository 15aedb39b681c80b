using Tidemark.Blocks.Graph;
using Tidemark.Blocks.Nodes;
using Tidemark.Engine.Nodes;
using Tidemark.Qcow2;
using Tidemark.Qmp;

namespace Tidemark.Engine.Transactions;

/// <summary>
/// <c>blockdev-reopen</c> of one node: which children it has, whether it is read-only, what discards do. The first is
/// how a copy-before-write filter is put under a guest that is running, below a <c>raw</c> node that stays; the second
/// is how a bitmap of a layer below the active one is removed. Every other option must be as it was.
/// </summary>
internal sealed class ReopenAction(NodeSet nodes, NodeOptions options) : GraphAction
{
    private NodeEntry? _entry;
    private NodeOptions? _before;
    private Action? _undo;

    // Read-only or not is otherwise than before, and not for good yet.
    private bool _hasChanged;
    private bool _stoppedDiscards;

    /// <inheritdoc/>
    public override async ValueTask PrepareAsync(CancellationToken cancellationToken)
    {
        var name = options.NodeName ?? throw Refuse("node-name not specified");
        var node = nodes.Graph.Find(name) ?? throw Refuse($"Failed to find node with node-name='{name}'");
        var entry = nodes.Get(node);
        if (node.Driver != options.Driver || entry.Options is null)
        {
            throw Refuse("Cannot change the option 'driver'");
        }

        switch (options)
        {
            case RawNodeOptions raw:
                RequireSame(entry.Options, raw with { File = ((RawNodeOptions)entry.Options).File });

                // The present child may be where no flush goes any more when another one has its place.
                await node.FlushAsync(cancellationToken).ConfigureAwait(false);
                ReplaceFile(node, raw.File);
                break;
            case Qcow2NodeOptions image:
                var old = (Qcow2NodeOptions)entry.Options;
                RequireSame(old, image with { File = old.File, NoBacking = old.NoBacking, Backing = old.Backing });
                RequireSameFile(node, image.File);
                ReplaceBacking((Qcow2Node)node, image);
                break;
            default:
                RequireSame(entry.Options, options);
                break;
        }

        (_entry, _before) = (entry, entry.Options);
        entry.Options = options;
        _stoppedDiscards = entry.Node.StopsDiscards;
        entry.Node.StopsDiscards = !(options.Discards ?? (!_stoppedDiscards && !entry.IsOwnedByMonitor));
        try
        {
            await ChangeReadOnlyAsync(entry).ConfigureAwait(false);
            nodes.Permissions.Check();
        }
        catch
        {
            Abort();
            await GoBackAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <inheritdoc/>
    public override void Abort()
    {
        _undo?.Invoke();
        _entry!.Options = _before;
        _entry.Node.StopsDiscards = _stoppedDiscards;
    }

    /// <inheritdoc/>
    public override void Commit() => _hasChanged = false;

    /// <inheritdoc/>
    public override async ValueTask CleanUpAsync()
    {
        if (_hasChanged)
        {
            using (await nodes.Graph.DrainAsync().ConfigureAwait(false))
            {
                await GoBackAsync().ConfigureAwait(false);
            }
        }
    }

    private async ValueTask ChangeReadOnlyAsync(NodeEntry entry)
    {
        // Without a word: writable, as without one at blockdev-add; a node that others have opened does as they said.
        var isKept = options.ReadOnly is null && (options.AutoReadOnly || !entry.IsOwnedByMonitor);
        if (isKept || (options.ReadOnly ?? false) == entry.Node.IsReadOnly)
        {
            return;
        }

        RequireIdle(entry.Node);
        if (entry.Node.Bitmaps.Any(bitmap => bitmap.IsBusy))
        {
            throw Refuse($"Node '{entry.Node.Name}' is busy: one of its bitmaps is in use by another operation");
        }

        _hasChanged = await ReadOnlyChange.ApplyAsync(nodes, entry, !entry.Node.IsReadOnly).ConfigureAwait(false);
    }

    private async ValueTask GoBackAsync()
    {
        if (_hasChanged)
        {
            _hasChanged = false;
            await ReadOnlyChange.ApplyAsync(nodes, _entry!, !_entry!.Node.IsReadOnly).ConfigureAwait(false);
        }
    }

    private static void RequireSame(NodeOptions before, NodeOptions now)
    {
        // A node that a header has opened was given its name by the engine.
        var same = now with
        {
            NodeName = before.NodeName,
            ReadOnly = before.ReadOnly,
            AutoReadOnly = before.AutoReadOnly,
            Discards = before.Discards,
        };
        if (before != same)
        {
            throw Refuse($"blockdev-reopen of node '{now.NodeName}' supports new children, read-only and discard: "
                + "every other option must be given as it was");
        }
    }

    private void ReplaceFile(BlockNode node, ChildOptions child)
    {
        var edge = node.Children.First(edge => edge.Role == ChildRole.File);
        if (FindNew(node, edge.Node, child) is not { } target)
        {
            return;
        }

        RequireIdle(node);
        if (target.Length != edge.Node.Length)
        {
            throw Refuse($"node '{target.Name}' has {target.Length} bytes, the present child {edge.Node.Length}");
        }

        var old = edge.Node;
        edge.Replace(target);
        _undo = () => edge.Replace(old);
    }

    private void RequireSameFile(BlockNode node, ChildOptions child)
    {
        if (FindNew(node, node.ChildOf(ChildRole.File)!, child) is not null)
        {
            throw Refuse("Cannot change the option 'file'");
        }
    }

    private void ReplaceBacking(Qcow2Node node, Qcow2NodeOptions image)
    {
        var old = node.ChildOf(ChildRole.Backing);
        if (!image.NoBacking && image.Backing is null)
        {
            return;
        }

        var target = image.NoBacking ? null : FindNew(node, old, image.Backing!) ?? old;
        if (ReferenceEquals(target, old))
        {
            return;
        }

        RequireIdle(node);
        node.SetBacking(target);
        _undo = () => node.SetBacking(old);
    }

    // The node that an option names, or null when it is the present one. An inline child can only be the present one.
    private BlockNode? FindNew(BlockNode node, BlockNode? present, ChildOptions child)
    {
        if (child.Name is not { } name)
        {
            return present is not null && nodes.Get(present).Options == child.Options
                ? null
                : throw Refuse("a new child must be given by its node name");
        }

        var target = nodes.Get(name).Node;
        if (ReferenceEquals(target, present))
        {
            return null;
        }

        return BlockGraph.Descendants(target).Contains(node)
            ? throw Refuse($"Making '{name}' a child of '{node.Name}' would create a cycle")
            : target;
    }

    // A job relies on how its nodes hang together.
    private void RequireIdle(BlockNode node)
    {
        if (nodes.Get(node).JobType is { } type)
        {
            throw Refuse($"Node '{node.Name}' is busy: block device is in use by block job: {type}");
        }
    }

    private static QmpException Refuse(string description) => new(QmpException.GenericError, description);
}
