using System.Text.Json.Nodes;
using Tidemark.Blocks.Graph;
using Tidemark.Engine.Nodes;
using Tidemark.Engine.Transactions;

namespace Tidemark.Engine.Commands;

/// <summary>Nodes: add, delete, create, reopen, query.</summary>
internal static class NodeCommands
{
    internal static void AddTo(CommandTable table, NodeSet nodes, NodeCreator creator)
    {
        var opener = new NodeOpener(nodes);
        var info = new NodeInfo(nodes);
        table.Add("blockdev-add", async (arguments, cancellationToken) =>
        {
            var options = NodeOptionsReader.Read(arguments);
            arguments.CheckNothingLeft();
            await opener.AddAsync(options, cancellationToken).ConfigureAwait(false);
        });
        table.Add("blockdev-del", async (arguments, _) =>
        {
            var name = arguments.GetString("node-name");
            arguments.CheckNothingLeft();
            await nodes.DeleteAsync(name).ConfigureAwait(false);
        });
        table.Add("blockdev-create", arguments => creator.Start(arguments.GetString("job-id"), arguments));
        table.Add("blockdev-reopen", async (arguments, cancellationToken) =>
        {
            var transaction = new GraphTransaction(nodes.Graph);
            foreach (var item in arguments.GetObjects("options"))
            {
                transaction.Add(new ReopenAction(nodes, NodeOptionsReader.Read(item)));
            }

            arguments.CheckNothingLeft();
            await transaction.RunAsync(cancellationToken).ConfigureAwait(false);
        });
        table.Add("query-named-block-nodes", (arguments, _) =>
        {
            var flat = arguments.FindBoolean("flat") ?? false;
            arguments.CheckNothingLeft();
            return ValueTask.FromResult<JsonNode>(info.Query(flat));
        });
        table.Add("query-block", (arguments, _) =>
        {
            // There are no guest devices here, and no node is attached to one.
            arguments.CheckNothingLeft();
            return ValueTask.FromResult<JsonNode>(new JsonArray());
        });
    }
}
