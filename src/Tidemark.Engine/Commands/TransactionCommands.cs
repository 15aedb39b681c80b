using Tidemark.Blocks.Graph;
using Tidemark.Engine.Nodes;
using Tidemark.Engine.Transactions;

namespace Tidemark.Engine.Commands;

/// <summary><c>transaction</c>, and the commands that are transactions of one action.</summary>
internal static class TransactionCommands
{
    internal static void AddTo(CommandTable table, ActionReader actions, NodeSet nodes)
    {
        table.Add("transaction", async (arguments, cancellationToken) =>
            await actions.ReadTransaction(arguments).RunAsync(cancellationToken).ConfigureAwait(false));
        foreach (var name in actions.CommandNames)
        {
            table.Add(name, async (arguments, cancellationToken) =>
            {
                var transaction = new GraphTransaction(nodes.Graph).Add(actions.Read(name, arguments));
                arguments.CheckNothingLeft();
                await transaction.RunAsync(cancellationToken).ConfigureAwait(false);
            });
        }
    }
}
