using System.CommandLine;
using Tidemark.Backup.Graph;
using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Plans;

/// <summary>The options that name a graph and a disk's chain in it: <c>--nodes FILE --chain A,B,…</c>.</summary>
internal sealed class ChainOptions
{
    private readonly CommandConsole _console;

    private readonly Option<string> _nodes;
    private readonly Option<string> _chain;

    public ChainOptions(Command command, CommandConsole console)
    {
        _console = console;
        _nodes = command.AddRequired("--nodes", "FILE", "The list that query-named-block-nodes returned.");
        _chain = command.AddRequired(
            "--chain", "A,B,…", "The disk's format nodes, the active layer first, separated by commas.");
    }

    /// <summary>Reads the graph.</summary>
    public GraphSnapshot Graph(ParseResult parsed) => GraphFile.Read(parsed.GetRequiredValue(_nodes));

    /// <summary>The chain. A node that the file does not list is a layer without bitmaps; a filter is no
    /// layer.</summary>
    public NodeChain Chain(ParseResult parsed, GraphSnapshot graph)
    {
        List<GraphNode> layers = [];
        foreach (var name in parsed.GetRequiredValue(_chain).Split(','))
        {
            if (name.Length == 0)
            {
                throw new UsageException("--chain holds an empty name; write A,B,… with the active layer first");
            }

            if (layers.Exists(layer => layer.Name == name))
            {
                throw new UsageException($"--chain names '{name}' twice");
            }

            var node = NodeOf(graph, name);
            if (FilterDrivers.IsFilter(node.Driver))
            {
                _console.WriteMessage($"node '{name}' is a {node.Driver} filter, no layer: it is passed over");
                continue;
            }

            layers.Add(node);
        }

        return layers.Count > 0 ? new NodeChain(layers, null)
            : throw new UsageException("--chain names nothing but filters");
    }

    /// <summary>A node of the graph, or one of that name without bitmaps.</summary>
    public GraphNode NodeOf(GraphSnapshot graph, string name)
    {
        if (graph.Find(name) is { } found)
        {
            return found;
        }

        _console.WriteMessage($"node '{name}' is not in the file: it counts as an image without bitmaps");
        return new GraphNode { Name = name, Driver = "qcow2", VirtualSize = 0 };
    }
}
