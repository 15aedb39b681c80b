using System.Text.Json;
using System.Text.Json.Nodes;
using Tidemark.Backup.Graph;

namespace Tidemark.Backup.Tests.Transcripts;

/// <summary>The graphs of the recordings, which are shortened: what was left out is filled in.</summary>
internal static class RecordedGraph
{
    private const long Size = 1 << 30;

    internal static GraphSnapshot Parse(JsonElement nodes, IReadOnlyDictionary<string, long> sizes)
    {
        JsonArray complete = [];
        foreach (var node in nodes.EnumerateArray())
        {
            var copy = JsonNode.Parse(node.GetRawText())!.AsObject();
            var name = (string)copy["node-name"]!;
            copy["image"] = new JsonObject
            {
                ["virtual-size"] = sizes.GetValueOrDefault(name, Size),
                ["filename"] = (string?)copy["file"],
                ["format"] = (string?)copy["drv"],
            };
            complete.Add((JsonNode)copy);
        }

        using var document = JsonDocument.Parse(complete.ToJsonString());
        return GraphParser.Parse(new GraphReplies { NamedBlockNodes = document.RootElement.Clone() });
    }

    /// <summary>The virtual machine before anything was done to it: two disks, one of them on a base.</summary>
    internal static GraphSnapshot Fresh()
    {
        using var document = JsonDocument.Parse(
            """
            [{"node-name": "libvirt-1-format", "drv": "qcow2", "file": "/srv/vm/vdb.qcow2"},
             {"node-name": "libvirt-2-format", "drv": "qcow2", "file": "/srv/vm/vda.qcow2",
              "backing_file": "/srv/vm/vda-base.qcow2"},
             {"node-name": "libvirt-3-format", "drv": "qcow2", "file": "/srv/vm/vda-base.qcow2"},
             {"node-name": "libvirt-7-format", "drv": "qcow2", "file": "/srv/vm/vdb.sn.qcow2"}]
            """);
        return Parse(document.RootElement, new Dictionary<string, long>());
    }
}
