using System.Text.Json.Nodes;
using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Files;
using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2;

namespace Tidemark.Engine.Nodes;

/// <summary>Nodes as <c>query-named-block-nodes</c> shows them (qapi/block-core.json, BlockDeviceInfo).</summary>
internal sealed class NodeInfo(NodeSet nodes)
{
    /// <summary>All nodes.</summary>
    /// <param name="flat">Whether backing images are left out of each image; they are nodes of the list
    /// themselves.</param>
    internal JsonArray Query(bool flat)
    {
        JsonArray list = [];
        foreach (var entry in nodes.Entries)
        {
            list.Add((JsonNode)Describe(entry, flat));
        }

        return list;
    }

    private JsonObject Describe(NodeEntry entry, bool flat)
    {
        var node = entry.Node;
        var info = new JsonObject
        {
            ["iops_rd"] = 0,
            ["detect_zeroes"] = "off",
            ["image"] = DescribeImage(entry, flat),
            ["iops_wr"] = 0,
            ["ro"] = entry.IsReadOnly,
            ["node-name"] = node.Name,
            ["backing_file_depth"] = flat ? 0 : Depth(node),
            ["drv"] = node.Driver,
            ["iops"] = 0,
            ["bps_wr"] = 0,
            ["write_threshold"] = 0,
        };
        if (node.ChildOf(ChildRole.Backing) is { } backing)
        {
            info["backing_file"] = NodeFileNames.Show(nodes.Get(backing), nodes);
        }

        // Newer QEMU has this field (BlockDeviceInfo.children): whoever plans over the graph need not guess by file
        // names.
        if (node.Children.Count > 0)
        {
            JsonArray children = [];
            foreach (var child in node.Children)
            {
                children.Add((JsonNode)new JsonObject
                {
                    ["child"] = child.Role.ToString().ToLowerInvariant(),
                    ["node-name"] = child.Node.Name,
                });
            }

            info["children"] = children;
        }

        if (node.Bitmaps.Count > 0)
        {
            JsonArray bitmaps = [];
            foreach (var bitmap in node.Bitmaps.Reverse())
            {
                bitmaps.Add((JsonNode)Describe(bitmap));
            }

            info["dirty-bitmaps"] = bitmaps;
        }

        info["encrypted"] = false;
        info["bps"] = 0;
        info["bps_rd"] = 0;
        info["cache"] = new JsonObject { ["no-flush"] = false, ["direct"] = false, ["writeback"] = true };
        info["file"] = NodeFileNames.Show(entry, nodes);
        return info;
    }

    private static JsonObject Describe(DirtyBitmap bitmap)
    {
        var info = new JsonObject();
        if (bitmap.Name is { } name)
        {
            info["name"] = name;
        }

        info["recording"] = bitmap.IsRecording;
        info["persistent"] = bitmap.IsPersistent;
        if (bitmap.IsInconsistent)
        {
            info["inconsistent"] = true;
        }

        info["busy"] = bitmap.IsBusy;
        info["granularity"] = bitmap.Granularity;
        info["count"] = bitmap.DirtyBytes;
        return info;
    }

    private JsonObject DescribeImage(NodeEntry entry, bool flat)
    {
        var node = entry.Node;
        var image = new JsonObject();
        var backing = node.ChildOf(ChildRole.Backing);
        if (!flat && backing is not null)
        {
            image["backing-image"] = DescribeImage(nodes.Get(backing), flat);
        }

        var qcow2 = node as Qcow2Node;
        if (qcow2?.BackingFormat is { } format)
        {
            image["backing-filename-format"] = format;
        }

        image["virtual-size"] = node.Length;
        image["filename"] = NodeFileNames.Show(entry, nodes);
        if (ClusterSize(node) is var clusterSize and > 0)
        {
            image["cluster-size"] = clusterSize;
        }

        image["format"] = node.Driver;
        if (NodeFileNames.Of(node) is { } path && HostFiles.AllocatedBytes(path) is { } allocated)
        {
            image["actual-size"] = allocated;
        }

        if (qcow2 is not null)
        {
            image["format-specific"] = new JsonObject { ["type"] = "qcow2", ["data"] = DescribeFormat(qcow2) };
            if (NodeFileNames.BackingOf(qcow2) is ({ } name, { } fullName))
            {
                image["full-backing-filename"] = fullName;
                image["backing-filename"] = name;
            }
        }

        image["dirty-flag"] = false;
        return image;
    }

    private static JsonObject DescribeFormat(Qcow2Node node)
    {
        var header = node.Header;
        var data = new JsonObject
        {
            ["compat"] = header.Compat,
            ["compression-type"] = header.CompressionName,
            ["lazy-refcounts"] = header.HasLazyRefcounts,
        };
        data["refcount-bits"] = header.RefcountBits;
        data["corrupt"] = header.IsCorrupt;
        data["extended-l2"] = false;
        return data;
    }

    private static int ClusterSize(BlockNode node)
    {
        while (node is not Qcow2Node)
        {
            if (node is RawFileNode || node.ChildOf(ChildRole.File) is not { } child)
            {
                return 0;
            }

            node = child;
        }

        return ((Qcow2Node)node).ClusterSize;
    }

    private static int Depth(BlockNode node)
    {
        var depth = 0;
        for (; Below(node) is { } next; node = next)
        {
            depth += node.IsFilter ? 0 : 1;
        }

        return depth;
    }

    private static BlockNode? Below(BlockNode node) => node.ChildOf(node.IsFilter ? ChildRole.File : ChildRole.Backing);
}
