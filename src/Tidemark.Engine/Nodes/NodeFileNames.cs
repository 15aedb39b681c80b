using System.Text.Json.Nodes;
using Tidemark.Blocks.Files;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Client;
using Tidemark.Qcow2;

namespace Tidemark.Engine.Nodes;

/// <summary>
/// What a node is called in <c>query-named-block-nodes</c>: the path of the file at its bottom when that alone would
/// open it again, else QEMU's <c>json:</c> form with the options that are needed besides.
/// </summary>
internal static class NodeFileNames
{
    /// <summary>The path of the file under a node, through every <c>file</c> child; null when there is none.</summary>
    internal static string? Of(BlockNode node)
    {
        while (node.ChildOf(ChildRole.File) is { } child)
        {
            node = child;
        }

        return (node as RawFileNode)?.Path;
    }

    /// <summary>The name to show.</summary>
    internal static string Show(NodeEntry entry, NodeSet nodes) =>
        TryPlain(entry, nodes) ?? "json:" + Describe(entry.Node, nodes).ToJsonString();

    /// <summary>The path that an image's header names as its backing file, and the same made absolute; nulls without
    /// one.</summary>
    internal static (string? Name, string? FullName) BackingOf(Qcow2Node node) =>
        node.BackingFile is { } name ? (name, BackingNames.Resolve(name, Of(node)) ?? name) : default;

    private static string? TryPlain(NodeEntry entry, NodeSet nodes)
    {
        var node = entry.Node;
        var file = node.ChildOf(ChildRole.File) is { } child ? nodes.Find(child) : null;
        return node switch
        {
            RawFileNode leaf => leaf.Path,
            Qcow2Node image => HasBackingOfHeader(image, nodes) && file is not null && file.Node is RawFileNode
                ? Show(file, nodes)
                : null,
            RawNode => entry.Options is RawNodeOptions { Offset: 0, Size: null } && file?.Node is RawFileNode
                ? Show(file, nodes)
                : null,
            NbdNode => null,
            _ => node.IsFilter && file is not null ? Show(file, nodes) : null,
        };
    }

    private static bool HasBackingOfHeader(Qcow2Node image, NodeSet nodes)
    {
        var (_, wanted) = BackingOf(image);
        var backing = image.ChildOf(ChildRole.Backing) is { } node ? nodes.Find(node) : null;
        return wanted is null || backing is null
            ? wanted is null && backing is null
            : string.Equals(TryPlain(backing, nodes), wanted, StringComparison.Ordinal);
    }

    private static JsonObject Describe(BlockNode node, NodeSet nodes)
    {
        var text = new JsonObject();
        if (node is Qcow2Node image && !HasBackingOfHeader(image, nodes))
        {
            text["backing"] = image.ChildOf(ChildRole.Backing) is { } backing ? Describe(backing, nodes) : null;
        }

        if (nodes.Find(node)?.Options is RawNodeOptions raw)
        {
            if (raw.Offset != 0)
            {
                text["offset"] = raw.Offset;
            }

            if (raw.Size is { } size)
            {
                text["size"] = size;
            }
        }

        text["driver"] = node.Driver;
        switch (nodes.Find(node)?.Options)
        {
            case FileNodeOptions file:
                text["filename"] = file.FileName;
                break;
            case NbdDriverOptions remote:
                text["server"] = remote.Server.SocketPath is { } path
                    ? new JsonObject { ["type"] = "unix", ["path"] = path }
                    : new JsonObject
                    {
                        ["type"] = "inet",
                        ["host"] = remote.Server.Host,
                        ["port"] = $"{remote.Server.Port}",
                    };
                text["export"] = remote.Export;
                break;
        }

        foreach (var child in node.Children)
        {
            if (child.Role != ChildRole.Backing)
            {
                text[child.Role.ToString().ToLowerInvariant()] = Describe(child.Node, nodes);
            }
        }

        return text;
    }
}
