// A transaction: several changes of the graph that happen all together, at one instant, or not at all.
//
//   1. Drain. From here no request of any root is under way: this is the one instant of all disks, and a write is
//      wholly before it or wholly after it.
//   2. Prepare the actions in order. Each sees what the ones before it have done.
//   3a. All prepared: commit them in order. Commits cannot fail.
//   3b. One failed: abort the prepared ones in reverse order, so each finds the graph as it left it. Aborts cannot
//       fail. The first error is the transaction's error.
//   4. Requests are let in again, then the prepared actions clean up, in order.
//
// An action that throws from Commit or Abort has a bug. It does not stop the others from their turn, since a graph that
// is half committed would be worse; its error is reported after them, unless an earlier one is.

namespace Tidemark.Blocks.Graph;

/// <summary>
/// An ordered list of <see cref="GraphAction"/>s that take effect at one instant, all of them or none.
/// </summary>
public sealed class GraphTransaction
{
    private readonly BlockGraph _graph;
    private readonly List<GraphAction> _actions = [];
    private bool _hasRun;

    /// <summary>Begins an empty transaction on a graph.</summary>
    public GraphTransaction(BlockGraph graph) => _graph = graph;

    /// <summary>Appends an action.</summary>
    public GraphTransaction Add(GraphAction action)
    {
        _actions.Add(action);
        return this;
    }

    /// <summary>Runs the actions in one drained section; may be called once.</summary>
    /// <param name="cancellationToken">Ends the wait for the drained section and the preparing, with everything undone;
    /// once all actions are prepared it is no longer looked at.</param>
    /// <exception cref="Exception">What the first failing action threw; nothing has changed then.</exception>
    public async Task RunAsync(CancellationToken cancellationToken = default)
    {
        if (_hasRun)
        {
            throw new InvalidOperationException("a transaction runs once");
        }

        _hasRun = true;
        var failures = new FirstFailure();
        var prepared = 0;
        using (await _graph.DrainAsync(cancellationToken).ConfigureAwait(false))
        {
            prepared = await PrepareAsync(failures, cancellationToken).ConfigureAwait(false);
            if (failures.IsEmpty)
            {
                foreach (var action in _actions)
                {
                    failures.Guard(action.Commit);
                }
            }
            else
            {
                for (var index = prepared - 1; index >= 0; index--)
                {
                    failures.Guard(_actions[index].Abort);
                }
            }
        }

        foreach (var action in _actions[..prepared])
        {
            await failures.GuardAsync(action.CleanUpAsync).ConfigureAwait(false);
        }

        failures.Throw();
    }

    private async Task<int> PrepareAsync(FirstFailure failures, CancellationToken cancellationToken)
    {
        for (var index = 0; index < _actions.Count; index++)
        {
            var action = _actions[index];
            await failures.GuardAsync(() =>
            {
                cancellationToken.ThrowIfCancellationRequested();
                return action.PrepareAsync(cancellationToken);
            }).ConfigureAwait(false);
            if (!failures.IsEmpty)
            {
                return index;
            }
        }

        return _actions.Count;
    }
}
