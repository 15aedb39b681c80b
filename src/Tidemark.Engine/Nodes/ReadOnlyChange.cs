using Tidemark.Blocks.Nodes;
using Tidemark.Qmp;

namespace Tidemark.Engine.Nodes;

// A node becomes what it is asked to be. The file below follows it, if it was opened together with it and without a
// word of its own about read-only; any other file must be writable already, and stays so.
//
// Upwards the file comes first, downwards the node: a writable node never has a read-only file.

/// <summary>Makes a node read-only or writable while it is open. In a drained section, under the command
/// gate.</summary>
internal static class ReadOnlyChange
{
    /// <summary>Makes it so; what is so already stays.</summary>
    /// <param name="nodes">The engine's nodes.</param>
    /// <param name="entry">The node.</param>
    /// <param name="readOnly">Whether writes are refused.</param>
    /// <returns>Whether something has changed.</returns>
    /// <exception cref="BlockException">It cannot be done; see <see cref="BlockNode.SetReadOnlyAsync"/>.</exception>
    /// <exception cref="QmpException">The file is read-only because somebody has said so.</exception>
    internal static async ValueTask<bool> ApplyAsync(NodeSet nodes, NodeEntry entry, bool readOnly)
    {
        var node = entry.Node;
        if (node.IsReadOnly == readOnly)
        {
            return false;
        }

        var file = node.ChildOf(ChildRole.File) is { } below ? nodes.Get(below) : null;
        var follower = file is { Options.ReadOnly: null } && entry.Owned.Contains(file) ? file : null;
        if (readOnly)
        {
            await node.SetReadOnlyAsync(true).ConfigureAwait(false);
            try
            {
                if (follower is not null)
                {
                    await ApplyAsync(nodes, follower, true).ConfigureAwait(false);
                }
            }
            catch
            {
                await TryAsync(nodes, entry, false).ConfigureAwait(false);
                throw;
            }

            return true;
        }

        if (follower is null && file is { Node.IsReadOnly: true })
        {
            throw new QmpException(
                QmpException.GenericError,
                $"Block node is read-only: '{file.Node.Name}', the file of '{node.Name}', was opened so");
        }

        var followed = follower is not null && await ApplyAsync(nodes, follower, false).ConfigureAwait(false);
        try
        {
            await node.SetReadOnlyAsync(false).ConfigureAwait(false);
        }
        catch when (followed)
        {
            await TryAsync(nodes, follower!, true).ConfigureAwait(false);
            throw;
        }

        return true;
    }

    /// <summary>Makes several nodes writable, or none.</summary>
    /// <returns>Those that were not.</returns>
    internal static async ValueTask<IReadOnlyList<NodeEntry>> OpenAsync(NodeSet nodes, IEnumerable<NodeEntry> entries)
    {
        List<NodeEntry> opened = [];
        try
        {
            foreach (var entry in entries)
            {
                if (await ApplyAsync(nodes, entry, false).ConfigureAwait(false))
                {
                    opened.Add(entry);
                }
            }
        }
        catch
        {
            await CloseAsync(nodes, opened).ConfigureAwait(false);
            throw;
        }

        return opened;
    }

    /// <summary>Makes nodes read-only again, as far as that goes: one that cannot store what it holds stays
    /// writable, and stores it when it is closed.</summary>
    internal static async ValueTask CloseAsync(NodeSet nodes, IReadOnlyList<NodeEntry> opened)
    {
        for (var index = opened.Count - 1; index >= 0; index--)
        {
            await TryAsync(nodes, opened[index], true).ConfigureAwait(false);
        }
    }

    private static async ValueTask TryAsync(NodeSet nodes, NodeEntry entry, bool readOnly)
    {
        try
        {
            await ApplyAsync(nodes, entry, readOnly).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is BlockException or QmpException)
        {
            // What is to be told is why it was tried to go back, or nothing.
        }
    }
}
