using Tidemark.Blocks.Graph;
using Tidemark.Qmp;

namespace Tidemark.Engine.Transactions;

/// <summary>The action <c>abort</c>: it fails, and so undoes its transaction. For tests of clients.</summary>
internal sealed class FailingAction : GraphAction
{
    /// <inheritdoc/>
    public override ValueTask PrepareAsync(CancellationToken cancellationToken) =>
        throw new QmpException(QmpException.GenericError, "Transaction aborted using Abort action");
}
