using System.Text;
using System.Text.Json;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Rules;

namespace Tidemark.Fuzz.Targets;

/// <summary>What a hypervisor says of its graph: it is understood or refused, and every rule can judge every chain of
/// it.</summary>
internal sealed class GraphTarget : IFuzzTarget
{
    public string Name => "graph";

    public string Description => "replies of query-named-block-nodes, and the rules over them";

    public IReadOnlyList<string> Assemblies => ["Tidemark.Backup"];

    public TimeSpan HangLimit => TimeSpan.FromSeconds(10);

    public long MemoryLimit => 256 << 20;

    public int MaximumInput => 16 << 10;

    public IEnumerable<byte[]> Seeds() =>
        new[]
        {
            "[]",
            """
            [{"node-name":"t","drv":"qcow2","ro":false,"backing_file":"/b","dirty-bitmaps":[{"name":"a","recording":
            true,"persistent":true,"busy":false,"granularity":65536,"count":0}],"image":{"virtual-size":1048576,
            "filename":"/t","format":"qcow2","cluster-size":65536,"format-specific":{"type":"qcow2","data":{"compat":
            "1.1"}},"snapshots":[{"name":"s","vm-state-size":0}]}},{"node-name":"b","drv":"qcow2","image":
            {"virtual-size":1048576,"filename":"/b"}},{"node-name":"f","drv":"throttle","children":[{"child":"file",
            "node-name":"t"}],"image":{"virtual-size":1048576,"filename":"/t"}}]
            """,
        }.Select(Encoding.UTF8.GetBytes);

    public void Execute(ReadOnlySpan<byte> input)
    {
        GraphSnapshot graph;
        try
        {
            using var document = JsonDocument.Parse(input.ToArray());
            graph = GraphParser.Parse(new GraphReplies { NamedBlockNodes = document.RootElement.Clone() });
        }
        catch (Exception exception) when (exception is JsonException or GraphException)
        {
            return;
        }

        foreach (var node in graph.Nodes)
        {
            var chain = graph.ChainOf(node);
            foreach (var bitmap in node.Bitmaps)
            {
                var isValid = BitmapChain.Validate(chain, bitmap.Name).IsValid;
                if (isValid != (BitmapChain.Merge(chain, bitmap.Name, "s", "x").Count > 0))
                {
                    throw new InvalidOperationException($"bitmap '{bitmap.Name}': valid {isValid}, and merged not so");
                }

                _ = BitmapChain.OtherSize(chain, bitmap.Name);
                _ = BitmapChain.Reopened(chain, bitmap.Name);
            }

            _ = BitmapChain.Snapshot(chain, "o");
            _ = BitmapChain.Copy(chain, node, shallow: false);
            _ = BitmapChain.Stream(chain, chain.Top.Name, null);
            if (chain.Layers.Count > 1 && chain.Gap is null)
            {
                _ = BitmapChain.Commit(chain, chain.Top.Name, chain.Layers[^1].Name);
            }
        }
    }
}
